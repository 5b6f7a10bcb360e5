/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * `fairlead agent`: one process, one thread, one event loop. The source updates the model and calls
 * source_on_changed(); then publish_changes.c plans and publishes the dirty Services, all changes
 * of one wake-up in one batch. Stopping the agent changes nothing in the kernel.
 */

#include "agent/agent.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/agent_state.h"
#include "agent/confine.h"
#include "agent/event_posts.h"
#include "agent/hook_guard.h"
#include "agent/map_sizes.h"
#include "agent/node_cleanup.h"
#include "agent/stale_sockets.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/log_output.h"
#include "base/netns.h"
#include "config/config_watch.h"
#include "config/kube_proxy_config.h"
#include "datapath/datapath.h"
#include "datapath/load_error.h"
#include "datapath/pin_dir.h"
#include "fairlead/agent.h"
#include "health/service_health.h"
#include "kube/client/client.h"
#include "link/hooks/cgroup.h"
#include "link/link_watch.h"
#include "metrics/fairlead_metrics.h"
#include "model/model.h"
#include "publish/publisher.h"
#include "source/source.h"

#define OOM_SCORE_ADJ "/proc/self/oom_score_adj"

static void agent_on_signal(uv_signal_t *handle, int number)
{
	struct agent *agent = handle->data;

	log_info("stopping on signal %d; the datapath goes on without the agent", number);
	uv_stop(&agent->loop);
}

static bool signal_is_ignored(int number)
{
	struct sigaction action;

	return !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN;
}

static int signals_watch(struct agent *agent)
{
	struct {
		uv_signal_t *handle;
		int number;
	} signals[] = {
		{&agent->terminate, SIGTERM},
		{&agent->interrupt, SIGINT},
		{&agent->hangup, SIGHUP},
	};
	int err;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		(void)uv_signal_init(&agent->loop, signals[i].handle);
		signals[i].handle->data = agent;
		/* nohup ignores SIGHUP so that the process survives it. */
		if (signals[i].number == SIGHUP && signal_is_ignored(SIGHUP))
			continue;
		err = uv_signal_start(signals[i].handle, agent_on_signal, signals[i].number);
		if (err)
			return log_err(err, "cannot watch for signals");
	}
	return 0;
}

/*
 * Ends the agent: its supervisor restarts it with the new file, and the datapath keeps working
 * meanwhile.
 */
static void agent_on_config_changed(void *context)
{
	struct agent *agent = context;

	log_error("the configuration file %s has changed: exiting, to be restarted with it",
		  agent->options.config_file);
	agent->failed = -ESTALE;
	uv_stop(&agent->loop);
}

/* Before anything is changed: a mistake in --cgroup must not leave half a datapath. */
static int cgroup_choose(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (!options->with_socket)
		return 0;
	agent->cgroup = options->cgroup ? strdup(options->cgroup) : cgroup_find_root();
	if (!agent->cgroup) {
		log_error("no cgroup v2 is mounted: mount one, name it with --cgroup, or do "
			  "without the socket hooks (--hooks tc)");
		return -ENOENT;
	}
	agent->is_cgroup_subtree = !options->cgroup && !cgroup_is_root(agent->cgroup);
	if (agent->is_cgroup_subtree)
		log_warning("the cgroup %s is not the root of cgroup v2, but that of a container: "
			    "processes of this node outside of it have no socket hooks. Give the "
			    "container the node's /sys/fs/cgroup or its cgroup namespace, and name "
			    "the cgroup with --cgroup",
			    agent->cgroup);
	return cgroup_check(agent->cgroup);
}

/* Fills in the fields that stay the same while this agent runs. */
static void agent_status_begin(struct agent *agent)
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

static bool agent_is_alive(void *context)
{
	const struct agent *agent = context;

	return health_is_alive(agent->telemetry.health);
}

static void agent_on_health_check_failed(const char *namespace_, const char *name, const char *note,
					 void *context)
{
	const struct agent *agent = context;

	event_post_health_check_failed(agent->source, namespace_, name, note);
}

static int health_ports_open(struct agent *agent)
{
	const struct service_health_options options = {
		.node_name = agent->options.node_name,
		.is_alive = agent_is_alive,
		.failed = agent_on_health_check_failed,
		.context = agent,
	};

	agent->health_ports = service_health_ports_new(&agent->loop, &options);
	return agent->health_ports ? 0 : log_err(-ENOMEM, "cannot prepare Services' health checks");
}

static void agent_on_degraded_changed(void *context)
{
	struct agent *agent = context;

	if (agent->plane)
		agent_status_update(agent);
}

static int hook_guard_open(struct agent *agent)
{
	const struct hook_guard_options options = {
		.interval_s = agent->options.hook_check_s,
		.pin_dir = agent->options.pin_dir,
		.cgroup = agent->cgroup,
		.telemetry = &agent->telemetry,
		.source = agent->source,
		.model = agent->model,
		.node_ports = &agent->publishing.inputs.node_ports,
		.degraded_changed = agent_on_degraded_changed,
		.context = agent,
	};

	agent->hook_guard = hook_guard_new(&agent->loop, &options);
	return agent->hook_guard ? 0 : log_err(-ENOMEM, "cannot check the hooks");
}

static int agent_open_plane(struct agent *agent, const struct datapath_sizes *sizes)
{
	const struct plane_options options = {
		.number = ++agent->plane_count,
		.agent = &agent->options,
		.sizes = *sizes,
		.status = &agent->status,
		.events = {.addresses_changed = agent_addresses_changed,
			   .links_changed = agent_on_degraded_changed,
			   .context = agent},
	};
	int err = plane_open(&agent->loop, &options, &agent->plane);

	if (err)
		return err;
	agent->telemetry.plane = agent->plane;
	hook_guard_use(agent->hook_guard, agent->plane);
	full_tables_use(&agent->full_tables, agent->plane);
	return 0;
}

/*
 * Adopts what an earlier run left in the kernel right at the start, because the source may take
 * long to complete: links that appear meanwhile get their hooks.
 */
static int agent_adopt_plane(struct agent *agent)
{
	struct datapath_sizes sizes;
	int err;

	if (!datapath_is_pinned(agent->options.pin_dir))
		return 0;
	map_sizes_of_options(&agent->options, &sizes);
	err = agent_open_plane(agent, &sizes);
	if (err)
		return err;
	err = agent_complete_plane(agent);
	if (err)
		return err;
	log_info("what an earlier agent has programmed stays in use until the source is complete");
	return 0;
}

static bool is_shortage(int err)
{
	return err == -ENOMEM || err == -E2BIG;
}

/*
 * Opens the plane, anew if there is one. If its maps are larger than those of before, or than those
 * of an earlier run, and cannot be had, it gets these: what fits into them is served and followed.
 */
static int agent_open_larger_plane(struct agent *agent, const struct datapath_sizes *sizes)
{
	bool is_running = agent->plane;
	struct datapath_sizes before;
	int err;

	map_sizes_of_options(&agent->options, &before);
	if (agent->plane)
		before = agent->plane->sizes;
	agent->changed_before = agent->status.changed_service_ports;
	agent->refused_before = agent->status.refused_service_ports;
	agent->telemetry.plane = NULL;
	hook_guard_use(agent->hook_guard, NULL);
	full_tables_use(&agent->full_tables, NULL);
	plane_close(take_ptr(agent->plane));
	err = agent_open_plane(agent, sizes);
	if (!err ||
	    (!is_running && !(is_shortage(err) && datapath_is_pinned(agent->options.pin_dir))))
		return err;
	agent->publishing.is_room_short = true;
	full_tables_refuse(&agent->full_tables);
	log_warning("larger maps cannot be had (%s), continuing with those of before: Services "
		    "that do not fit are not programmed, flows that do not fit are not protected "
		    "from floods of others, and clients lose their affinity to others; if memory "
		    "is short, free some or raise the limit of the agent's cgroup, and restart the "
		    "agent",
		    load_error_text());
	return agent_open_plane(agent, &before);
}

int agent_ensure_plane(struct agent *agent, bool *ret_is_new)
{
	struct datapath_sizes sizes;
	int err;

	*ret_is_new = false;
	agent_refresh_inputs(agent);
	err = map_sizes_of_model(agent->model, &agent->options, &agent->publishing.inputs, &sizes);
	if (err)
		return log_err(err, "cannot size the maps");
	full_tables_raise(&agent->full_tables, &sizes);
	if (agent->plane && map_sizes_fit(&sizes, &agent->plane->sizes))
		return 0;
	/* A new plane gets by their pins what the one of before has. */
	if (agent->plane && !hook_guard_pins_are_reachable(agent->hook_guard))
		return 0;
	*ret_is_new = true;
	return agent_open_larger_plane(agent, &sizes);
}

int agent_complete_plane(struct agent *agent)
{
	int err = plane_attach_sockets(agent->plane, agent->cgroup, agent->options.pin_dir);

	if (err)
		return err;
	telemetry_hooked(&agent->telemetry);
	err = datapath_commit(agent->plane->datapath);
	if (err)
		return err;
	hook_guard_check_surroundings(agent->hook_guard);
	return 0;
}

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

/* Opens the source that the options name. */
static int agent_source_open(struct agent *agent)
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
		.node_name = agent->options.node_name,
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

/* Everything that can be checked before the kernel is changed or the source is opened. */
static int agent_prepare(struct agent *agent)
{
	const struct agent_options *options = &agent->options;
	int err = signals_watch(agent);

	if (err)
		return err;
	log_timer_open(&agent->loop, &agent->log_timer);
	agent_publishing_init(agent);
	full_tables_open(&agent->full_tables, &agent->loop, &agent->options, agent_grow_now, agent);
	if (options->config_file) {
		err = config_watch_open(&agent->loop, options->config_file, &options->config_mark,
					agent_on_config_changed, agent, &agent->config_watch);
		if (err)
			return err;
	}
	err = cgroup_choose(agent);
	if (err)
		return err;
	agent->options.config.netns_cookie = netns_cookie();
	agent_status_begin(agent);
	agent->model = model_new();
	return agent->model ? 0 : log_err(-ENOMEM, "cannot allocate the model");
}

static int agent_start(struct agent *agent)
{
	int err = agent_prepare(agent);

	if (err)
		return err;
	err = telemetry_open(&agent->telemetry, &agent->loop, &agent->options, &agent->status,
			     agent->model);
	if (err)
		return err;
	err = health_ports_open(agent);
	if (err)
		return err;
	err = agent_source_open(agent);
	if (err)
		return err;
	err = hook_guard_open(agent);
	if (err)
		return err;
	agent->failed =
		http_pages_open(&agent->http_pages, &agent->loop, &agent->telemetry, agent->source);
	if (agent->failed) {
		event_posts_flush(agent->source, &agent->loop);
		return agent->failed;
	}
	event_post_start(agent->source);
	if (!agent->options.manifests)
		return agent_adopt_plane(agent);
	telemetry_source_reachable(&agent->telemetry, NULL);
	return 0;
}

static void handle_close(uv_handle_t *handle, void *context)
{
	(void)context;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void agent_stop(struct agent *agent)
{
	source_close(agent->source);
	hook_guard_close(agent->hook_guard);
	config_watch_close(agent->config_watch);
	service_health_ports_close(agent->health_ports);
	http_pages_close(&agent->http_pages);
	telemetry_close(&agent->telemetry);
	full_tables_use(&agent->full_tables, NULL);
	plane_close(take_ptr(agent->plane));
	uv_walk(&agent->loop, handle_close, NULL);
	(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&agent->loop);
	plan_inputs_fini(&agent->publishing.inputs);
	model_free(agent->model);
	free(agent->cgroup);
}

/*
 * Sets the process's oom_score_adj, so that the OOM killer prefers other processes (rule O175). A
 * failure is logged and otherwise ignored.
 */
static void oom_score_adjust(int score)
{
	auto_cleanup(cleanup_fd) int fd = open(OOM_SCORE_ADJ, O_WRONLY | O_CLOEXEC);
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", score);

	if (fd < 0 || write(fd, text, (size_t)length) != length)
		log_info("cannot write %d to " OOM_SCORE_ADJ ", continuing without: %s", score,
			 strerror(errno));
}

static int agent_run(struct agent *agent)
{
	int err;

	oom_score_adjust(agent->options.oom_score_adj);
	err = capabilities_check();
	if (err)
		return err;
	/* Before there is a loop, whose threads, and the kernel's for io_uring, inherit this. */
	err = confine_capabilities();
	if (err)
		return err;
	err = uv_loop_init(&agent->loop);
	if (err)
		return log_err(err, "cannot make the event loop");
	err = agent_start(agent);
	if (!err) {
		(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
		err = agent->failed;
	}
	agent_stop(agent);
	log_repeats_flush();
	return err;
}

/*
 * Prepares what needs more privileges than later runs have: mounts bpffs and creates the pin
 * directory (rule Q192). Logs. Returns 0 or a negative errno.
 */
static int agent_init_only(const char *pin_dir)
{
	int err = pin_dir_make(pin_dir);

	if (err)
		return err;
	log_info("%s is ready for an agent", pin_dir);
	return 0;
}

/* If several tasks are requested, only the first in kube-proxy's order runs. */
static int task_run(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (options->write_config_to)
		return kube_proxy_config_write(&options->values, options->write_config_to);
	if (options->cleanup)
		return node_cleanup(options->pin_dir);
	if (options->init_only)
		return agent_init_only(options->pin_dir);
	return agent_run(agent);
}

int agent_main(int argc, char **argv)
{
	struct agent agent = {};
	int err;

	/* The reader of the log may exit: that must not kill the agent. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* Nor may one that does not read: opened here, before the agent is confined. */
	log_output_open();
	err = agent_options_read(argc, argv, &agent.options);
	if (!err)
		err = task_run(&agent);
	agent_options_free(&agent.options);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
