/* SPDX-License-Identifier: BSD-2-Clause */

/* The map that tells operators what is not programmed, and why. */

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "publish/publisher_parts.h"

static bool key_is_among(const struct unprogrammed_key *key, const struct unprogrammed_key *keys,
			 uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!memcmp(&keys[i], key, sizeof(*key)))
			return true;
	}
	return false;
}

static void reason_write(struct publisher *publisher, const struct unprogrammed_key *key,
			 const struct unprogrammed *value)
{
	struct unprogrammed before;

	if (!bpf_map_lookup_elem(publisher->maps.unprogrammed, key, &before) &&
	    !memcmp(&before, value, sizeof(before)))
		return;
	if (bpf_map_update_elem(publisher->maps.unprogrammed, key, value, BPF_ANY))
		(void)log_err(-errno, "cannot record why %s/%s is not programmed, continuing",
			      key->namespace_, key->name);
}

int reasons_set(struct publisher *publisher, struct service_record *service,
		const struct unprogrammed_key *keys, const struct unprogrammed *values,
		uint32_t count)
{
	struct unprogrammed_key *kept = NULL;

	if (count) {
		kept = malloc(count * sizeof(*kept));
		if (!kept)
			return -ENOMEM;
		memcpy(kept, keys, count * sizeof(*kept));
	}
	for (uint32_t i = 0; i < service->unprogrammed_count; i++) {
		if (!key_is_among(&service->unprogrammed[i], keys, count))
			(void)bpf_map_delete_elem(publisher->maps.unprogrammed,
						  &service->unprogrammed[i]);
	}
	for (uint32_t i = 0; i < count; i++)
		reason_write(publisher, &keys[i], &values[i]);
	free(service->unprogrammed);
	service->unprogrammed = kept;
	service->unprogrammed_count = count;
	return 0;
}
