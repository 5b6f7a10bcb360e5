/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Callbacks of the source: changes of the model, which publish_changes.c writes into the maps, and
 * what else the source reports.
 */

#include "agent/agent_state.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "agent/confine.h"
#include "base/clock.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "kube/client/client.h"
#include "metrics/fairlead_metrics.h"
#include "publish/publisher.h"
#include "source/source.h"

static void source_on_changed(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	if (agent->failed)
		return;
	agent_publish_changed(agent, woken_ns);
}

static void source_on_rejected(void *context)
{
	struct agent *agent = context;

	agent->status.rejected_objects++;
}

static void source_on_warned(const char *why, void *context)
{
	const struct agent *agent = context;

	fairlead_metrics_manifest_warning(agent->telemetry.fairlead, why);
}

/* The source is complete: from now on the maps hold what it says, and nothing else. */
static int source_program(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers numbers;
	bool is_new;
	int err = agent_ensure_plane(agent, &is_new);

	if (err)
		return err;
	agent_publish_first(agent, agent->status.started_ns);
	err = is_new ? agent_complete_plane(agent) : 0;
	if (err)
		return err;
	agent->status.synced_ns = uv_hrtime();
	agent_status_update(agent);
	publisher_numbers(agent->plane->publisher, &numbers);
	log_info("ready: %u service ports programmed in %llu ms", numbers.service_ports,
		 (unsigned long long)((agent->status.synced_ns - woken_ns) / NS_PER_MS));
	return 0;
}

/* The API servers' addresses, or the ClusterIPs that the agent has chosen. */
static bool agent_keeps_state(const struct agent_options *options)
{
	return !options->manifests || options->traffic.service_cidr_count;
}

static void source_on_synced(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	/* The agent has failed and only waits for its last Events to be sent. */
	if (agent->failed)
		return;
	agent->telemetry.ready.is_source_complete = true;
	agent->publishing.is_next_full = true;
	agent->failed = source_program(agent, woken_ns);
	if (agent->failed)
		uv_stop(&agent->loop);
	else
		confine_process(&(const struct confine_options){
			.pin_dir = agent->options.pin_dir,
			.state_dir = agent_keeps_state(&agent->options) ? agent->options.state_dir
									: NULL,
			.runs_plugins = agent->options.kubeconfig,
		});
}

static void source_on_reachable(const char *why, void *context)
{
	struct agent *agent = context;

	telemetry_source_reachable(&agent->telemetry, why);
	agent->is_source_away = why;
	if (agent->plane)
		agent_status_update(agent);
}

/*
 * Connections of the agent to the API server must not go through the Services it programs itself.
 */
static void source_on_socket_made(int fd, void *context)
{
	const struct agent *agent = context;
	const __u32 own = 1;

	if (agent->plane &&
	    bpf_map_update_elem(datapath_map(agent->plane->datapath, MAP_AGENT_SOCKETS), &fd, &own,
				BPF_ANY))
		log_warning("the agent's own connection may be treated as a client's: %s",
			    strerror(errno));
}

static void source_on_request(const struct kube_observation *seen, void *context)
{
	const struct agent *agent = context;

	kube_proxy_metrics_request(agent->telemetry.kube_proxy, seen->method, seen->verb,
				   seen->host, (unsigned int)seen->status, seen->seconds);
}

static void source_on_event_counted(const char *result, void *context)
{
	const struct agent *agent = context;

	fairlead_metrics_event(agent->telemetry.fairlead, result);
}

int agent_source_open(struct agent *agent)
{
	const struct source_events events = {
		.synced = source_on_synced,
		.changed = source_on_changed,
		.rejected = source_on_rejected,
		.warned = source_on_warned,
		.reachable = source_on_reachable,
		.context = agent,
	};
	const struct manifests_options manifests = {
		.dir = agent->options.manifests,
		.is_strict = agent->options.strict,
		.service_cidrs = agent->options.traffic.service_cidrs,
		.service_cidr_count = agent->options.traffic.service_cidr_count,
		.state_dir = agent->options.state_dir,
	};

	if (agent->options.manifests)
		return source_manifests_open(&agent->loop, &manifests, agent->model, &events,
					     &agent->source);
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
			.socket_made = source_on_socket_made,
			.observed = source_on_request,
			.event_counted = source_on_event_counted,
		},
		agent->model, &events, &agent->source);
}
