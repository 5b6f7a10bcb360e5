/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Checks the hooks periodically: somebody else may detach them, and the kernel does not notify us.
 * A missing hook is attached again, logged, counted and reported as an Event.
 */

#include <stdint.h>
#include <uv.h>

struct plane;
struct source;
struct telemetry;

struct hook_guard_options {
	uint32_t interval_s;
	/* Borrowed, like all that follows. */
	const char *pin_dir;
	const char *cgroup; /* NULL: there are no socket hooks */
	struct telemetry *telemetry;
	struct source *source; /* posts the Events */
	/* The result of hook_guard_degraded() has changed. */
	void (*degraded_changed)(void *context);
	void *context;
};

struct hook_guard;

/* Begins checking the hooks of no plane. NULL: memory is short. */
struct hook_guard *hook_guard_new(uv_loop_t *loop, const struct hook_guard_options *options);

/* Checks the hooks of this plane from now on; NULL: of none. Borrowed. */
void hook_guard_use(struct hook_guard *guard, struct plane *plane);

/*
 * Looks for hooks of another instance of fairlead where ours are, and logs it if there are more or
 * fewer than the last time. Each check of the hooks does that too.
 */
void hook_guard_find_others(struct hook_guard *guard);

/* DEGRADED_OTHER_INSTANCE if there were such hooks the last time. */
uint32_t hook_guard_degraded(const struct hook_guard *guard);

/* The loop's next iteration frees it. NULL is fine. */
void hook_guard_close(struct hook_guard *guard);
