/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/topology.h"

#include <string.h>

static bool hints_name(char *const *hints, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(hints[i], name))
			return true;
	}
	return false;
}

bool topology_fits(const struct plan_context *context, enum topology_mode mode,
		   const struct slice_endpoint *endpoint)
{
	switch (mode) {
	case TOPOLOGY_NODE:
		return hints_name(endpoint->node_hints, endpoint->node_hint_count,
				  context->node_name);
	case TOPOLOGY_ZONE:
		return hints_name(endpoint->zone_hints, endpoint->zone_hint_count, context->zone);
	default:
		return true;
	}
}

/* A mode is off if one ready endpoint has no hint for it (rule E67), or if none fits (E71). */
static bool mode_applies(const struct plan_context *context, const struct candidates *candidates,
			 enum topology_mode mode)
{
	bool any_fits = false;

	for (size_t i = 0; i < candidates->count; i++) {
		const struct slice_endpoint *endpoint = &candidates->items[i].endpoint;

		if (!endpoint->ready)
			continue;
		if (!(mode == TOPOLOGY_NODE ? endpoint->node_hint_count
					    : endpoint->zone_hint_count))
			return false;
		any_fits |= topology_fits(context, mode, endpoint);
	}
	return any_fits;
}

enum topology_mode topology_mode_of(const struct plan_context *context,
				    const struct candidates *candidates)
{
	if (context->node_name && mode_applies(context, candidates, TOPOLOGY_NODE))
		return TOPOLOGY_NODE;
	/* Without a zone label the mode is off (rule E68). */
	if (context->zone && context->zone[0] && mode_applies(context, candidates, TOPOLOGY_ZONE))
		return TOPOLOGY_ZONE;
	return TOPOLOGY_NONE;
}
