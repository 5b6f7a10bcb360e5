/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Checks the hooks periodically: somebody else may detach them, and the kernel does not notify us.
 * A missing hook is attached again, logged, counted and reported as an Event.
 */

#include <stdint.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "agent/observe.h"
#include "link/link_watch.h"

/* The agent's own variables; borrowed, and read at each check. */
struct hook_guard_sources {
	uint32_t interval_s;
	const char *pin_dir;
	const char *cgroup;               /* NULL: there are no socket hooks */
	const bool *are_hooked;           /* whether the socket hooks have been attached */
	struct datapath *const *datapath; /* points to NULL while there is none */
	struct link_watch *const *links;  /* likewise */
	struct observe *observe;
	/* Posts `note` as an Event of the Node. */
	void (*lost)(const char *note, void *context);
	void *context;
};

struct hook_guard;

/* Checks every `interval_s` seconds. NULL: memory is short. */
struct hook_guard *hook_guard_new(uv_loop_t *loop, const struct hook_guard_sources *sources);

/* The loop's next iteration frees it. NULL is fine. */
void hook_guard_close(struct hook_guard *guard);
