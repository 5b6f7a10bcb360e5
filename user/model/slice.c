/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "base/address.h"
#include "model/packed.h"

struct slice_endpoint slice_endpoint_at(const struct slice_object *slice, size_t index)
{
	const struct packed_endpoints *packed = slice->packed;
	struct slice_endpoint endpoint;
	const __u32 *words;

	if (!packed)
		return slice->endpoints[index];
	words = packed->words + index * packed_stride(packed->is_ipv4);
	endpoint = (struct slice_endpoint){
		.node_name = (char *)name_text(words[0] & PACKED_NAME),
		.ready = words[0] & PACKED_READY,
		.serving = words[0] & PACKED_SERVING,
		.terminating = words[0] & PACKED_TERMINATING,
	};
	if (packed->is_ipv4)
		endpoint.addr = address_from_ipv4(words[1]);
	else
		memcpy(&endpoint.addr, &words[1], sizeof(endpoint.addr));
	if (packed->hints) {
		const struct packed_hints *hints = &packed->hints[index];

		endpoint.zone_hints = hints->zone_hints;
		endpoint.node_hints = hints->node_hints;
		endpoint.zone_hint_count = hints->zone_hint_count;
		endpoint.node_hint_count = hints->node_hint_count;
	}
	return endpoint;
}

void slice_names_drop(const struct slice_object *slice)
{
	const struct packed_endpoints *packed = slice->packed;

	for (size_t i = 0; packed && i < slice->endpoint_count; i++)
		name_drop(packed->words[i * packed_stride(packed->is_ipv4)] & PACKED_NAME);
}
