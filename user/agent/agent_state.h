/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Inside of `fairlead agent`: what its files share. All of it is of one process and one loop. */

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
	uv_timer_t retry; /* of a publish that has failed */
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
	struct bind_watch *bind_watch;
	struct exhausted_watch *exhausted_watch;
	struct agent_status status;
	struct observe *observe;
	struct service_health_ports *health_ports;
	struct hook_guard *hook_guard;
	bool are_sockets_hooked;
	bool is_source_away;
	char *cgroup;
	int failed; /* why it ends */
	struct plan_inputs plan_inputs;
	char zone[ZONE_SIZE]; /* of the own Node, that the plans were made with; "": none */
};

/* agent_datapath.c: all log, and return 0 or a negative errno. */

/* Before anything is touched: a mistake in --cgroup must not leave half a datapath. */
int agent_choose_cgroup(struct agent *agent);

/*
 * What an earlier run left in the kernel is looked after from the start, not only when the source
 * is complete, which may take long: links that come meanwhile get their hooks.
 */
int agent_datapath_take_up(struct agent *agent);

/*
 * Sees to maps that are large enough for what the model holds. `*ret_begun`: the datapath is
 * another one, to be published to and then finished.
 */
int agent_datapath_prepare(struct agent *agent, bool *ret_begun);

/* Hooks the sockets, and puts the maps in the place of an earlier run's. */
int agent_datapath_finish(struct agent *agent);

/* What is pinned and attached goes on. */
void agent_datapath_end(struct agent *agent);

/* agent_publish.c */

/*
 * What the plans depend on besides their Services is looked at: whatever changed makes all dirty.
 */
void agent_look_around(struct agent *agent);

/* Publishes every Service that is dirty. `woken_ns`: when the change came. Logs. */
int agent_publish_changed(struct agent *agent, uint64_t woken_ns);
/* No program looks any more at what was retired before; `context` is the agent. */
void agent_grace_over(void *context);

/*
 * The first publish: everything the source holds, then what an earlier run had and the source has
 * not. Logs.
 */
int agent_publish_first(struct agent *agent);

/* For link_events. `context`: the agent. */
void agent_addresses_changed(void *context);

/* agent_source.c: opens the source that the options name. Logs. Returns 0 or a negative errno. */
int agent_source_open(struct agent *agent);

/* agent_status.c: a failure to write is logged, and no more. */

/* What does not change as long as this agent runs. */
void agent_status_begin(struct agent *agent);

/* Writes the status as it is into its map. */
void agent_status_store(const struct agent *agent);

/* Brings the status up to date, and writes it. */
void agent_status_write(struct agent *agent);

/* agent_tell.c: Events of the Node, where there is a cluster to tell them to. */

/* That it starts, and whether another proxy does the same work. */
void agent_tell_start(struct agent *agent);

void agent_tell_map_full(struct agent *agent, uint32_t unfitting);

/* `context`: the agent. */
void agent_tell_unserved(const char *note, void *context);
void agent_tell_service_unserved(const char *namespace_, const char *name, const char *note,
				 void *context);
void agent_tell_hook_lost(const char *note, void *context);

/* Lets what was told about the end be sent, for a moment. */
void agent_tell_last_words(struct agent *agent);
