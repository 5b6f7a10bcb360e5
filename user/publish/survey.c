/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Finds the service ports that established flows refer to. An id is free when the flows of its
 * address have ended, which is cheap to check; but an address of the node, where NodePorts of many
 * Services are served, always has flows. When ids become scarce, the flows themselves are read.
 */

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "publish/publisher_parts.h"

#define BATCH 4096U

static void flows_note(const struct publisher *publisher, const char *values, size_t value_size,
		       uint32_t count, uint8_t *used)
{
	struct flow flow;

	for (uint32_t i = 0; i < count; i++) {
		memcpy(&flow, values + i * value_size, sizeof(flow));
		if (flow.service < publisher->maps.services_max)
			used[flow.service] = true;
	}
}

/* A batch holds whole buckets: where a bucket does not fit, retry with a larger batch. */
static int flows_read(const struct publisher *publisher, const struct bpf_map_info *info,
		      uint8_t *used)
{
	auto_cleanup(cleanup_free) char *keys = calloc(info->max_entries + BATCH, info->key_size);
	auto_cleanup(cleanup_free) char *values =
		calloc(info->max_entries + BATCH, info->value_size);
	uint32_t position = 0, batch = BATCH;
	bool is_first = true;

	if (!keys || !values)
		return -ENOMEM;
	while (true) {
		uint32_t count = batch;
		int err = 0;

		if (bpf_map_lookup_batch(publisher->maps.flows, is_first ? NULL : &position,
					 &position, keys, values, &count, NULL))
			err = -errno;
		if (err == -ENOSPC && batch < info->max_entries) {
			batch *= 2;
			continue;
		}
		if (err && err != -ENOENT)
			return err;
		flows_note(publisher, values, info->value_size, count, used);
		is_first = false;
		if (err)
			return 0;
	}
}

int survey_services(const struct publisher *publisher, uint8_t *used)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(publisher->maps.flows, &info, &info_size))
		return -errno;
	if (info.type != BPF_MAP_TYPE_HASH || info.value_size < sizeof(struct flow))
		return -EINVAL;
	return flows_read(publisher, &info, used);
}
