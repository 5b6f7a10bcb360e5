/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* `fairlead agent` as a whole: one process, one loop. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/full_tables.h"
#include "agent/http_pages.h"
#include "agent/log_timer.h"
#include "agent/plan_inputs.h"
#include "agent/plane.h"
#include "agent/telemetry.h"
#include "config/options.h"
#include "datapath/grace.h"
#include "fairlead/agent.h"

#define FAILURES_SIZE 512

/* publish_changes.c: what it keeps from publish to publish. */
struct publishing {
	struct plan_inputs inputs;
	struct grace grace;
	uv_timer_t reclaim; /* begins the next grace period, after which entries are freed */
	uv_timer_t retry;   /* tries the Services again that could not be published */
	uv_timer_t grow;    /* replaces maps that are full by larger ones */
	char failures[FAILURES_SIZE]; /* Services to retry, as they were logged; "": none */
	/*
	 * The last attempt to enlarge the maps failed: they did not help, there is no memory for
	 * them, or the pins were out of reach.
	 */
	bool is_room_short;
	uint32_t unfitting_in_vain; /* service ports that did not fit then, or have not since */
	bool is_next_full;          /* all Services were marked dirty since the last publish */
};

struct agent {
	struct agent_options options;
	char *cgroup;           /* of the socket hooks; NULL: there are none */
	bool is_cgroup_subtree; /* it was found, and is not the root */
	int failed;             /* why the agent ends; 0: it goes on */

	uv_loop_t loop;
	uv_signal_t terminate, interrupt, hangup;
	struct log_timer log_timer;
	struct config_watch *config_watch; /* NULL without --config */

	struct model *model;
	struct source *source;
	bool is_source_away;
	struct publishing publishing;
	struct full_tables full_tables;
	struct plane *plane; /* NULL until the source is complete, unless one was pinned */
	uint64_t plane_count;
	/* Service ports that earlier planes of this process changed and refused. */
	uint64_t changed_before, refused_before;

	struct agent_status status;
	struct telemetry telemetry;
	struct http_pages http_pages;
	struct service_health_ports *health_ports;
	struct hook_guard *hook_guard;
};

/* agent.c: all log; those that return an int return 0 or a negative errno. */

/*
 * Ensures that there is a plane whose maps are large enough for the model. One whose pins are out
 * of reach stays as it is. If larger maps cannot be had, it has those of before, of an earlier run
 * too (publishing.is_room_short). `*ret_is_new`: it was opened now, and must be published to and
 * then completed.
 */
int agent_ensure_plane(struct agent *agent, bool *ret_is_new);

/* Attaches the socket hooks and replaces an earlier run's pinned maps with the new ones. */
int agent_complete_plane(struct agent *agent);

/* Updates the status and writes it into its map; a failed write is otherwise ignored. */
void agent_status_update(struct agent *agent);

/* publish_changes.c */

/* Call it before any other function of this file. */
void agent_publishing_init(struct agent *agent);

/*
 * Re-reads the plans' other inputs (Node, addresses, ServiceCIDRs); any change marks every Service
 * dirty.
 */
void agent_refresh_inputs(struct agent *agent);

/* Publishes every dirty Service. `woken_ns`: when the change arrived. Logs and retries. */
void agent_publish_changed(struct agent *agent, uint64_t woken_ns);

/*
 * The first publish to a plane: everything that the source holds; then removes what the maps had
 * before and the source no longer has. What cannot be published now stays as the maps have it, and
 * is retried. `woken_ns`: when that became due. Logs.
 */
void agent_publish_first(struct agent *agent, uint64_t woken_ns);

/*
 * Has maps replaced by larger ones at once. Returns false if that cannot be: until the source is
 * complete, nothing is published. `context`: the agent.
 */
bool agent_grow_now(void *context);

/* True if maps were full a moment ago and are about to be replaced by larger ones. */
bool agent_is_about_to_grow(const struct agent *agent);

/* For struct link_events. `context`: the agent. */
void agent_addresses_changed(void *context);
