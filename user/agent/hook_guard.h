/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Looks after the hooks: others may detach them, and nobody tells. What is missing is attached
 * again, logged, counted and told as an Event.
 */

#include <stdint.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "agent/observe.h"
#include "link/link.h"

/* Where the agent keeps things; borrowed, and read at each look. */
struct hook_guard_sources {
	uint32_t interval_s;
	const char *pin_dir;
	const char *cgroup;               /* NULL: there are no socket hooks */
	const bool *are_hooked;           /* whether the socket hooks have been attached */
	struct datapath *const *datapath; /* leads to NULL while there is none */
	struct link_watch *const *links;  /* likewise */
	struct observe *observe;
	/* To be told as an Event of the Node. */
	void (*lost)(const char *note, void *context);
	void *context;
};

struct hook_guard;

/* Looks every `interval_s` seconds. NULL: memory is short. */
struct hook_guard *hook_guard_new(uv_loop_t *loop, const struct hook_guard_sources *sources);

/* The loop's next turn frees it. NULL is fine. */
void hook_guard_close(struct hook_guard *guard);
