/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the agent has in the kernel, opened and closed as one: programs and maps, the links that are
 * hooked, the publisher that writes Services into the maps, and what handles sockets and reports
 * that hooks do not. Closing frees the agent's side only: pinned maps and attached programs keep
 * working.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "config/options.h"
#include "datapath/datapath.h"
#include "fairlead/agent.h"
#include "link/link_watch.h"

struct plane {
	uint64_t number; /* differs from that of every earlier plane of this process */
	struct datapath *datapath;
	struct datapath_sizes sizes; /* of its maps, which may be larger than requested */
	struct link_watch *links;
	struct publisher *publisher;
	struct stale_sockets *stale_sockets;
	struct socket_reconnect *socket_reconnect; /* NULL without socket hooks */
	struct refused_binds *refused_binds;       /* NULL without bind protection */
	struct exhausted_ports *exhausted_ports;   /* NULL without TC hooks */
	bool are_sockets_hooked;
};

struct plane_options {
	uint64_t number;
	const struct agent_options *agent;
	struct datapath_sizes sizes;
	const struct agent_status *status; /* replaces the one that an earlier agent left */
	struct link_events events;
};

/*
 * Loads the programs, adopts what an earlier run left in the maps, and hooks the links;
 * plane_attach_sockets adds the socket hooks. On error nothing stays open. `options` is borrowed
 * for this call, except for the agent's options and the context of the events. Logs. Returns 0 or
 * a negative errno.
 */
int plane_open(uv_loop_t *loop, const struct plane_options *options, struct plane **ret_plane);

/*
 * Attaches the socket hooks to the cgroup; NULL: there are none, and those of an earlier run are
 * removed. Logs. Returns 0 or a negative errno.
 */
int plane_attach_sockets(struct plane *plane, const char *cgroup, const char *pin_dir);

/* Writes the agent's status into its map. A failure is logged and otherwise ignored. */
void plane_write_status(const struct plane *plane, const struct agent_status *status);

/* Aborts sockets whose backend has left, without delay, and frees the plane. NULL is fine. */
void plane_close(struct plane *plane);
