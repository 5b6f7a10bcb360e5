/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/survey.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fairlead/types.h"
#include "publish/map_read.h"

static int flows_read(const struct survey *survey, uint8_t *used)
{
	auto_cleanup(cleanup_free) char *keys = NULL;
	auto_cleanup(cleanup_free) char *values = NULL;
	struct map_cursor cursor = MAP_CURSOR(survey->flows);
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	uint32_t room, count;
	struct flow flow;
	int err;

	if (bpf_obj_get_info_by_fd(survey->flows, &info, &info_size))
		return -errno;
	if (info.type != BPF_MAP_TYPE_HASH || info.value_size < sizeof(flow))
		return -EINVAL;
	room = info.max_entries + MAP_READ_BATCH;
	keys = calloc(room, info.key_size);
	values = calloc(room, info.value_size);
	if (!keys || !values)
		return -ENOMEM;
	while (!cursor.is_end) {
		err = map_cursor_read(&cursor, keys, values, room, &count);
		if (err)
			return err;
		for (uint32_t i = 0; i < count; i++) {
			memcpy(&flow, values + (size_t)i * info.value_size, sizeof(flow));
			if (flow.service < survey->services_max)
				used[flow.service] = true;
		}
	}
	return 0;
}

uint8_t *survey_services(struct survey *survey, uint64_t now_ns)
{
	auto_cleanup(cleanup_free) uint8_t *used = NULL;

	if (survey->last_ns && now_ns - survey->last_ns < SURVEY_NS)
		return NULL;
	survey->last_ns = now_ns;
	used = calloc(survey->services_max, sizeof(*used));
	if (!used || flows_read(survey, used))
		return NULL;
	return take_ptr(used);
}
