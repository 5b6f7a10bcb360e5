/* SPDX-License-Identifier: BSD-2-Clause */

/* Callbacks of the source, and what the agent does in response. */

#include "agent/agent_state.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "agent/observe.h"
#include "agent/memory_trim.h"
#include "kube/client/client.h"
#include "base/log.h"
#include "publish/publisher.h"
#include "source/source.h"

static void source_changed(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	if (agent->failed)
		return;
	(void)agent_publish_changed(agent, woken_ns);
}

static void source_rejected(void *context)
{
	struct agent *agent = context;

	agent->status.rejected_objects++;
}

static int source_take(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers numbers;
	bool begun;
	int err = agent_datapath_prepare(agent, &begun);

	if (!err)
		err = agent_publish_first(agent);
	if (!err && begun)
		err = agent_datapath_finish(agent);
	if (err)
		return err;
	agent->status.synced_ns = uv_hrtime();
	agent_status_write(agent);
	publisher_numbers(agent->publisher, &numbers);
	log_info("ready: %u service ports programmed in %llu ms", numbers.service_ports,
		 (unsigned long long)(agent->status.synced_ns - woken_ns) / 1000000);
	/* Reading and decoding left holes in the heap between the objects of the model. */
	memory_trim();
	return 0;
}

static void source_synced(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	/* The agent has failed and only waits for its last Events to be sent. */
	if (agent->failed)
		return;
	observe_source_complete(agent->observe);
	agent->failed = source_take(agent, woken_ns);
	if (agent->failed)
		uv_stop(&agent->loop);
}

/*
 * Connections of the agent to the API server must not go through the Services it programs itself.
 */
static void own_socket_made(int fd, void *context)
{
	const struct agent *agent = context;
	const __u32 own = 1;

	if (agent->datapath &&
	    bpf_map_update_elem(datapath_map(agent->datapath, "agent_sockets"), &fd, &own, BPF_ANY))
		log_warning("the agent's own connection may be treated as a client's: %s",
			    strerror(errno));
}

static void request_observed(const struct kube_observation *seen, void *context)
{
	const struct agent *agent = context;

	observe_request(agent->observe, seen->method, seen->verb, seen->host,
			(unsigned int)seen->status, seen->seconds);
}

static void source_reachable(const char *why, void *context)
{
	struct agent *agent = context;

	observe_source_reachable(agent->observe, why);
	agent->is_source_away = why;
	if (agent->publisher)
		agent_status_write(agent);
}

static void event_counted(const char *result, void *context)
{
	const struct agent *agent = context;

	observe_event(agent->observe, result);
}

int agent_source_open(struct agent *agent)
{
	const struct source_events events = {
		.synced = source_synced,
		.changed = source_changed,
		.rejected = source_rejected,
		.reachable = source_reachable,
		.context = agent,
	};

	if (agent->options.manifests)
		return source_manifests_open(&agent->loop, agent->options.manifests, agent->model,
					     &events, &agent->source);
	return source_kube_open(
		&agent->loop,
		&(struct kube_source_options){
			.kubeconfig = agent->options.kubeconfig,
			.servers = agent->options.servers,
			.server_count = agent->options.server_count,
			.node_name = agent->options.node_name,
			.with_all_nodes = agent->options.config.forwarding != FORWARDING_SNAT,
			.state_dir = agent->options.state_dir,
			.silence_s = agent->options.api_silence_s,
			.socket_made = own_socket_made,
			.observed = request_observed,
			.event_counted = event_counted,
		},
		agent->model, &events, &agent->source);
}
