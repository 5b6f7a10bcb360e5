/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The state that the files of `fairlead agent` share. All of it belongs to one process and one
 * loop.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "datapath/grace.h"
#include "agent/log_timer.h"
#include "config/options.h"
#include "agent/plan_inputs.h"
#include "fairlead/agent.h"

#define ZONE_SIZE 64 /* a label's value: 63 characters */

struct agent {
	struct agent_options options;
	uv_loop_t loop;
	uv_signal_t terminate, interrupt, hangup;
	uv_timer_t reclaim;
	struct grace grace;
	uv_timer_t retry; /* retries a failed publish */
	struct log_timer log_timer;
	struct config_watch *config_watch;
	struct model *model;
	struct source *source;
	struct datapath *datapath; /* NULL until the source is complete, unless one was pinned */
	struct datapath_sizes sizes;
	struct link_watch *links;
	struct publisher *publisher;
	struct stale_sockets *stale_sockets;
	struct socket_reconnect *socket_reconnect; /* NULL without socket hooks */
	struct refused_binds *refused_binds;
	struct exhausted_ports *exhausted_ports;
	struct agent_status status;
	struct observe *observe;
	struct service_health_ports *health_ports;
	struct hook_guard *hook_guard;
	bool are_sockets_hooked;
	bool is_source_away;
	char *cgroup;
	int failed; /* why the agent ends */
	struct plan_inputs plan_inputs;
	char zone[ZONE_SIZE]; /* this Node's, used in the last plans; "": none */
};

/* plane.c: all log, and return 0 or a negative errno. */

/* Called before anything is changed: a mistake in --cgroup must not leave half a datapath. */
int agent_choose_cgroup(struct agent *agent);

/*
 * Adopts what an earlier run left in the kernel right at the start, because the source may take
 * long to complete: links that appear meanwhile get their hooks.
 */
int agent_datapath_take_up(struct agent *agent);

/*
 * Ensures that the maps are large enough for the model. `*ret_begun`: a new datapath was created,
 * which must be published to and then finished.
 */
int agent_datapath_prepare(struct agent *agent, bool *ret_begun);

/* Attaches the socket hooks and replaces an earlier run's pinned maps with the new ones. */
int agent_datapath_finish(struct agent *agent);

/* Frees the agent's side; pinned maps and attached programs keep working. */
void agent_datapath_end(struct agent *agent);

/* publish_changes.c */

/*
 * Re-reads the plans' other inputs (Node, addresses, ServiceCIDRs); any change marks every Service
 * dirty.
 */
void agent_look_around(struct agent *agent);

/* Publishes every dirty Service. `woken_ns`: when the change arrived. Logs. */
int agent_publish_changed(struct agent *agent, uint64_t woken_ns);
/* A grace period has ended: no program reads what was retired before it. `context` is the agent. */
void agent_grace_over(void *context);

/*
 * The first publish: everything that the source holds; then removes what an earlier run published
 * and the source no longer has. Logs.
 */
int agent_publish_first(struct agent *agent);

/* For link_events. `context`: the agent. */
void agent_addresses_changed(void *context);

/* source_events.c: opens the source that the options name. Logs. Returns 0 or a negative errno. */
int agent_source_open(struct agent *agent);

/* agent_status.c: a failed write is logged and otherwise ignored. */

/* Fills in the fields that stay the same while this agent runs. */
void agent_status_begin(struct agent *agent);

/* Writes the current status into its map. */
void agent_status_store(const struct agent *agent);

/* Updates the status and writes it. */
void agent_status_write(struct agent *agent);

/* event_posts.c: Events of the Node, if the source is a cluster. */

/* Posts that the agent starts, and whether another proxy serves the same Services. */
void agent_tell_start(struct agent *agent);

void agent_tell_map_full(struct agent *agent, uint32_t unfitting);

/* `context`: the agent. */
void agent_tell_unserved(const char *note, void *context);
void agent_tell_service_unserved(const char *namespace_, const char *name, const char *note,
				 void *context);
void agent_tell_hook_lost(const char *note, void *context);

/* Waits for a moment until the Events about the shutdown are sent. */
void agent_tell_last_words(struct agent *agent);
