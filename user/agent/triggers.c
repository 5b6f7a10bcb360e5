/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/triggers.h"

#include <stdlib.h>
#include <time.h>
#include "base/clock.h"

/* An upper bound: further triggers would add nothing, since all wait for the same publish. */
#define TRIGGERS_MAX 65536

/* If memory is short, the trigger is not counted. */
static void trigger_add(struct triggers *triggers, uint64_t triggered_ms, enum ip_family family)
{
	struct trigger *items;
	size_t room;

	if (triggers->count == triggers->room) {
		room = triggers->room ? 2 * triggers->room : 64;
		items = room > TRIGGERS_MAX ? NULL
					    : realloc(triggers->items, room * sizeof(*items));
		if (!items)
			return;
		triggers->items = items;
		triggers->room = room;
	}
	triggers->items[triggers->count++] = (struct trigger){triggered_ms, family};
}

static void triggers_on_arrival(const struct object *object, void *context)
{
	struct triggers *triggers = context;

	if (object->triggered_ms <= triggers->started_ms)
		return;
	if (object->kind == OBJECT_ENDPOINT_SLICE)
		trigger_add(triggers, object->triggered_ms, object->slice.family);
	for (size_t i = 0; object->kind == OBJECT_ENDPOINTS && i < object->endpoints.slice_count;
	     i++)
		trigger_add(triggers, object->triggered_ms, object->endpoints.slices[i].family);
}

void triggers_begin(struct triggers *triggers, struct model *model)
{
	*triggers = (struct triggers){.started_ms = clock_realtime_ns() / NS_PER_MS};
	model_on_arrival(model, triggers_on_arrival, triggers);
}

void triggers_end(struct triggers *triggers, struct model *model)
{
	model_on_arrival(model, NULL, NULL);
	free(triggers->items);
}

void triggers_drain(struct triggers *triggers, trigger_fn fn, void *context)
{
	uint64_t now = clock_realtime_ns() / NS_PER_MS;

	for (size_t i = 0; i < triggers->count; i++) {
		const struct trigger *trigger = &triggers->items[i];

		/* Another node's clock may be ahead of ours. */
		fn(trigger->family,
		   now > trigger->triggered_ms
			   ? (double)(now - trigger->triggered_ms) / (double)MS_PER_S
			   : 0,
		   context);
	}
	triggers->count = 0;
}
