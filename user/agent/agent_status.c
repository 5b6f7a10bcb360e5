/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/agent_state.h"

#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "agent/event_posts.h"
#include "agent/hook_guard.h"
#include "agent/stale_sockets.h"
#include "datapath/datapath.h"
#include "fairlead/agent.h"
#include "link/link_watch.h"
#include "model/model.h"
#include "publish/publisher.h"

void agent_status_begin(struct agent *agent)
{
	struct agent_status *status = &agent->status;

	status->pid = (__u32)getpid();
	status->started_ns = uv_hrtime();
	status->forwarding = agent->options.config.forwarding;
	(void)snprintf(status->version, sizeof(status->version), "%s", FAIRLEAD_VERSION);
	(void)snprintf(status->node_name, sizeof(status->node_name), "%s",
		       agent->options.node_name);
	(void)snprintf(status->source, sizeof(status->source), "%s",
		       agent->options.manifests ? agent->options.manifests : "Kubernetes API");
	if (agent->cgroup)
		(void)snprintf(status->cgroup, sizeof(status->cgroup), "%s", agent->cgroup);
}

void agent_status_update(struct agent *agent)
{
	const struct plane *plane = agent->plane;
	struct agent_status *status = &agent->status;
	bool was_full = status->degraded & DEGRADED_MAP_FULL;
	struct publisher_numbers numbers;
	bool is_full;

	publisher_numbers(plane->publisher, &numbers);
	is_full = numbers.unfitting && !agent_is_about_to_grow(agent);
	status->changed_service_ports = agent->changed_before + numbers.changed_service_ports;
	status->refused_service_ports = agent->refused_before + numbers.refused_service_ports;
	status->services = (__u32)model_count(agent->model, OBJECT_SERVICE);
	status->endpoint_slices = (__u32)model_count(agent->model, OBJECT_ENDPOINT_SLICE);
	status->nodes = (__u32)model_count(agent->model, OBJECT_NODE);
	status->degraded = datapath_degraded(plane->datapath) | link_watch_degraded(plane->links) |
			   stale_sockets_degraded(plane->stale_sockets) |
			   hook_guard_degraded(agent->hook_guard);
	if (is_full)
		status->degraded |= DEGRADED_MAP_FULL;
	if (is_full && !was_full)
		event_post_map_full(agent->source, numbers.unfitting);
	if (agent->is_source_away)
		status->degraded |= DEGRADED_SOURCE_AWAY;
	if (agent->publishing.inputs.has_no_address)
		status->degraded |= DEGRADED_NO_NODE_ADDRESS;
	if (!agent->options.with_socket)
		status->degraded |= DEGRADED_NO_SOCKET_HOOKS;
	else if (!agent->options.config.netns_cookie)
		status->degraded |= DEGRADED_NO_NETNS_COOKIE;
	if (agent->is_cgroup_subtree)
		status->degraded |= DEGRADED_CGROUP_SUBTREE;
	if (!agent->options.with_tc)
		status->degraded |= DEGRADED_NO_TC_HOOKS;
	plane_write_status(plane, status);
}
