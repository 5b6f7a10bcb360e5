/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/survey.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "fairlead/types.h"

/* The array that survey_services returns. */
struct used_services {
	uint8_t *used;
	uint32_t max;
};

static void flow_note(const void *key, const void *value, void *context)
{
	const struct used_services *services = context;
	struct flow flow;

	(void)key;
	memcpy(&flow, value, sizeof(flow));
	if (flow.service < services->max)
		services->used[flow.service] = true;
}

static int flows_read(const struct survey *survey, uint8_t *used)
{
	struct used_services services = {.used = used, .max = survey->services_max};
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(survey->flows, &info, &info_size))
		return -errno;
	if (info.type != BPF_MAP_TYPE_HASH || info.value_size < sizeof(struct flow))
		return -EINVAL;
	return map_each(survey->flows, flow_note, &services);
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
