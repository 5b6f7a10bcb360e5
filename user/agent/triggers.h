/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * When what made endpoints change happened (annotation endpoints.kubernetes.io/
 * last-change-trigger-time), kept until the change is programmed: kube-proxy's rule M145.
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
	uint64_t started_ms; /* what happened before is not this process's delay */
};

/* Listens to objects that arrive in the model. */
void triggers_begin(struct triggers *triggers, struct model *model);
void triggers_end(struct triggers *triggers, struct model *model);

/* Called with how long ago a change was triggered. */
typedef void (*trigger_fn)(enum ip_family family, double seconds, void *context);

/* Everything that has arrived is programmed now: calls `fn` for each change and forgets it. */
void triggers_drain(struct triggers *triggers, trigger_fn fn, void *context);
