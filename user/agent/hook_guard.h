/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Checks periodically what somebody else may change without our notice. A hook that was detached is
 * attached again, logged, counted and reported as an Event. Hooks of another instance of fairlead,
 * a policy of netfilter that drops forwarded packets, and NodePorts that sockets of the node may
 * get as their port are logged and reported in the status.
 */

#include <stdint.h>
#include <stdbool.h>
#include <uv.h>

struct model;
struct node_port_addresses;
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
	struct model *model;
	const struct node_port_addresses *node_ports; /* at which NodePorts are served now */
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
 * Whether the pins of the plane can be reached, if need be after they were pinned again; logs both,
 * a failure once. Each periodic check begins with it: everything is looked for by its pin.
 */
bool hook_guard_pins_are_reachable(struct hook_guard *guard);

/*
 * Looks for hooks of another instance of fairlead where ours are, for netfilter's policy and for
 * the ports of the node's sockets, and logs changes since the last check. Each periodic check does
 * that too.
 */
void hook_guard_check_surroundings(struct hook_guard *guard);

/*
 * DEGRADED_OTHER_INSTANCE, DEGRADED_FORWARD_POLICY and DEGRADED_NODEPORT_RANGE, as it was the last
 * time.
 */
uint32_t hook_guard_degraded(const struct hook_guard *guard);

/* The loop's next iteration frees it. NULL is fine. */
void hook_guard_close(struct hook_guard *guard);
