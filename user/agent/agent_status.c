/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/agent_state.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "agent/stale_sockets.h"
#include "fairlead/agent.h"
#include "link/link_watch.h"
#include "base/log.h"
#include "model/model.h"
#include "publish/publish.h"

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

void agent_status_store(const struct agent *agent)
{
	const __u32 zero = 0;

	if (bpf_map_update_elem(datapath_map(agent->datapath, "agent_status"), &zero,
				&agent->status, BPF_ANY))
		(void)log_err(-errno, "cannot write the agent's status, continuing");
}

void agent_status_write(struct agent *agent)
{
	struct agent_status *status = &agent->status;
	bool was_full = status->degraded & DEGRADED_MAP_FULL;
	struct publisher_numbers numbers;

	publisher_numbers(agent->publisher, &numbers);
	status->changed_service_ports = numbers.changed_service_ports;
	status->refused_service_ports = numbers.refused_service_ports;
	status->services = (__u32)model_count(agent->model, OBJECT_SERVICE);
	status->endpoint_slices = (__u32)model_count(agent->model, OBJECT_ENDPOINT_SLICE);
	status->nodes = (__u32)model_count(agent->model, OBJECT_NODE);
	status->degraded = datapath_degraded(agent->datapath) | link_watch_degraded(agent->links) |
			   stale_sockets_degraded(agent->stale_sockets);
	if (numbers.unfitting)
		status->degraded |= DEGRADED_MAP_FULL;
	if (numbers.unfitting && !was_full)
		agent_tell_map_full(agent, numbers.unfitting);
	if (agent->is_source_away)
		status->degraded |= DEGRADED_SOURCE_AWAY;
	if (agent->plan_inputs.has_no_address)
		status->degraded |= DEGRADED_NO_NODE_ADDRESS;
	if (!agent->options.with_socket)
		status->degraded |= DEGRADED_NO_SOCKET_HOOKS;
	else if (!agent->options.config.netns_cookie)
		status->degraded |= DEGRADED_NO_NETNS_COOKIE;
	if (!agent->options.with_tc)
		status->degraded |= DEGRADED_NO_TC_HOOKS;
	agent_status_store(agent);
}
