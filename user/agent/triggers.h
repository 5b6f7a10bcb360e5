/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The times of the events that changed endpoints (annotation
 * endpoints.kubernetes.io/last-change-trigger-time), kept until the change is programmed:
 * kube-proxy's rule M145.
 */

#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

struct trigger {
	uint64_t triggered_ms; /* since 1970 */
	enum ip_family family;
};

struct triggers {
	struct trigger *items;
	size_t count, room;
	uint64_t started_ms; /* earlier events are not this process's delay */
};

/* Registers for objects that arrive in the model. */
void triggers_begin(struct triggers *triggers, struct model *model);
void triggers_end(struct triggers *triggers, struct model *model);

/* Called with the time since a change was triggered. */
typedef void (*trigger_fn)(enum ip_family family, double seconds, void *context);

/* All changes that arrived are programmed now: calls `fn` for each trigger and forgets it. */
void triggers_drain(struct triggers *triggers, trigger_fn fn, void *context);
