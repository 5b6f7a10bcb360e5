/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * `fairlead agent`: one process, one thread, one event loop. The source changes the model; dirty
 * Services are planned and published, everything that one wake-up brought in one go. Stopping
 * changes nothing in the kernel.
 */

#include "agent/agent.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "agent/config_watch.h"
#include "agent/datapath.h"
#include "agent/guard.h"
#include "agent/kube_proxy_write.h"
#include "agent/left.h"
#include "agent/log_timer.h"
#include "agent/observe.h"
#include "agent/options.h"
#include "agent/other_proxy.h"
#include "agent/service_health_ports.h"
#include "agent/settle.h"
#include "agent/prepare.h"
#include "agent/size.h"
#include "cleanup.h"
#include "fairlead/agent.h"
#include "link/link.h"
#include "kube/client.h"
#include "kube/event_book.h"
#include "log.h"
#include "model/model.h"
#include "plan/health_check.h"
#include "plan/plan.h"
#include "publish/publish.h"
#include "source/source.h"

#define ZONE_SIZE 64 /* a label's value: 63 characters */

/* How long the end waits for what is to be said before. */
#define LAST_WORDS_MS 3000

struct agent {
	struct agent_options options;
	uv_loop_t loop;
	uv_signal_t terminate, interrupt, hangup;
	uv_timer_t reclaim;
	struct log_timer log_timer;
	struct config_watch *config_watch;
	struct model *model;
	struct source *source;
	struct datapath *datapath; /* NULL until the source is complete, unless one was pinned */
	struct datapath_sizes sizes;
	struct link_watch *links;
	struct publisher *publisher;
	struct left_sockets *left;
	struct agent_status status;
	struct observe *observe;
	struct service_health_ports *health_ports;
	struct guard *guard;
	bool are_sockets_hooked;
	char *cgroup;
	int failed;           /* why it ends */
	char zone[ZONE_SIZE]; /* of the own Node, that the plans were made with; "": none */
};

static const char *link_with_address(const struct ip_addr *addr, void *context)
{
	const struct agent *agent = context;

	return link_watch_owner(agent->links, addr);
}

static void status_store(const struct agent *agent)
{
	const __u32 zero = 0;

	if (bpf_map_update_elem(datapath_map(agent->datapath, "agent_status"), &zero,
				&agent->status, BPF_ANY))
		(void)log_err(-errno, "cannot write the agent's status, continuing");
}

static void warning_tell(struct agent *agent, const char *reason, const char *action,
			 const char *note)
{
	source_tell(agent->source, &(struct event_text){"Warning", reason, action, note});
}

static void map_full_tell(struct agent *agent, uint32_t unfitting)
{
	char note[256];

	(void)snprintf(note, sizeof(note),
		       "%u service ports do not fit into the maps; `fairlead services` on the node "
		       "names them and the option that makes room",
		       unfitting);
	warning_tell(agent, "MapFull", "Publish", note);
}

static void status_write(struct agent *agent)
{
	struct agent_status *status = &agent->status;
	bool was_full = status->degraded & DEGRADED_MAP_FULL;
	struct publisher_numbers numbers;

	publisher_numbers(agent->publisher, &numbers);
	status->changed_service_ports = numbers.changed_service_ports;
	status->refused_service_ports = numbers.refused_service_ports;
	status->services = (__u32)model_count(agent->model, OBJECT_SERVICE);
	status->endpoint_slices = (__u32)model_count(agent->model, OBJECT_ENDPOINT_SLICE);
	status->degraded = datapath_degraded(agent->datapath) | link_watch_degraded(agent->links) |
			   left_degraded(agent->left);
	if (numbers.unfitting)
		status->degraded |= DEGRADED_MAP_FULL;
	if (numbers.unfitting && !was_full)
		map_full_tell(agent, numbers.unfitting);
	if (!agent->options.with_socket)
		status->degraded |= DEGRADED_NO_SOCKET_HOOKS;
	if (!agent->options.with_tc)
		status->degraded |= DEGRADED_NO_TC_HOOKS;
	status_store(agent);
}

/* The own Node's zone decides topology hints: a change of it concerns every Service (rule P179). */
static void node_note(struct agent *agent)
{
	const struct object *node = model_node(agent->model, agent->options.node_name);
	const char *zone = node ? labels_get(&node->labels, LABEL_ZONE) : NULL;

	if (!strcmp(agent->zone, zone ? zone : ""))
		return;
	(void)snprintf(agent->zone, sizeof(agent->zone), "%s", zone ? zone : "");
	model_touch_all(agent->model);
	observe_all_touched(agent->observe);
}

static int health_check_note(struct agent *agent, const struct plan_context *context,
			     const struct object *service, const struct slice_object *const *slices,
			     size_t slice_count)
{
	struct planned_health_check check;
	int err = plan_health_check(context, service, slices, slice_count, &check);

	if (!err)
		err = service_health_ports_note(agent->health_ports, service->namespace_,
						service->name, &check);
	return err ? log_err(err, "cannot plan the health check of service %s/%s",
			     service->namespace_, service->name)
		   : 0;
}

static int service_publish(const char *namespace_, const char *name, void *context)
{
	struct agent *agent = context;
	const struct plan_context plan_context = {
		.node_name = agent->options.node_name,
		.zone = *agent->zone ? agent->zone : NULL,
		.link_with_address = link_with_address,
		.link_context = agent,
	};
	const struct object *service = model_service(agent->model, namespace_, name);
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct plan plan;
	int count, err;

	if (!service) {
		(void)service_health_ports_note(agent->health_ports, namespace_, name, NULL);
		return publisher_apply(agent->publisher, namespace_, name, NULL);
	}
	count = model_slices(agent->model, service, &slices);
	if (count < 0)
		return log_err(count, "cannot find the endpoints of service %s/%s", namespace_,
			       name);
	err = health_check_note(agent, &plan_context, service, slices, (size_t)count);
	if (err)
		return err;
	err = plan_service(&plan_context, service, slices, (size_t)count, &plan);
	if (err)
		return log_err(err, "cannot plan service %s/%s", namespace_, name);
	err = publisher_apply(agent->publisher, namespace_, name, &plan);
	plan_fini(&plan);
	/* A full map concerns this Service only; it was logged, and is tried again. */
	return err == -ENOSPC ? 0 : err;
}

static void reclaim(uv_timer_t *timer);

/* Frees what waits for its grace period, and comes back when the next is due. */
static void reclaim_schedule(struct agent *agent)
{
	uint64_t wait_ms = publisher_reclaim(agent->publisher, uv_hrtime());

	if (wait_ms)
		(void)uv_timer_start(&agent->reclaim, reclaim, wait_ms, 0);
	else
		(void)uv_timer_stop(&agent->reclaim);
}

static void reclaim(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	reclaim_schedule(agent);
	if (publisher_retry_unfitting(agent->publisher, service_publish, agent))
		log_warning("Services that did not fit could not be tried again, continuing");
	status_write(agent);
}

/* Publishes every dirty Service. `woken_ns`: when the change came. */
static int publish(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers before, after;
	int err;

	observe_changed(agent->observe);
	publisher_numbers(agent->publisher, &before);
	err = model_drain_dirty(agent->model, service_publish, agent);
	service_health_ports_apply(agent->health_ports);
	publisher_numbers(agent->publisher, &after);
	if (after.changed_service_ports != before.changed_service_ports) {
		agent->status.last_publish_ns = uv_hrtime();
		agent->status.last_publish_took_ns = agent->status.last_publish_ns - woken_ns;
		agent->status.publishes++;
		log_debug("published %llu service ports in %llu us",
			  (unsigned long long)(after.changed_service_ports -
					       before.changed_service_ports),
			  (unsigned long long)agent->status.last_publish_took_ns / 1000);
	}
	left_note(agent->left);
	reclaim_schedule(agent);
	status_write(agent);
	observe_published(agent->observe, woken_ns, err);
	return err;
}

static void source_changed(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	if (agent->failed)
		return;
	node_note(agent);
	if (publish(agent, woken_ns))
		log_warning("not everything could be published, the next change tries again");
}

static void source_rejected(void *context)
{
	struct agent *agent = context;

	agent->status.rejected_objects++;
}

static void addresses_changed(void *context)
{
	struct agent *agent = context;
	const struct ip_addr *addrs;
	size_t count;

	addrs = link_watch_addresses(agent->links, &count);
	if (publisher_set_node_addresses(agent->publisher, addrs, count))
		log_warning("the node's addresses could not all be recorded");
	if (!agent->status.synced_ns)
		return;
	/* A ClusterIP may have come to a link, or gone from one. */
	model_touch_all(agent->model);
	observe_all_touched(agent->observe);
	(void)publish(agent, uv_hrtime());
}

static void links_changed(void *context)
{
	struct agent *agent = context;

	if (agent->publisher)
		status_write(agent);
}

static void stop(uv_signal_t *handle, int number)
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

static int loop_open(struct agent *agent)
{
	int err = uv_loop_init(&agent->loop);

	if (err)
		return log_err(err, "cannot make the event loop");
	(void)uv_signal_init(&agent->loop, &agent->terminate);
	(void)uv_signal_init(&agent->loop, &agent->interrupt);
	(void)uv_signal_init(&agent->loop, &agent->hangup);
	(void)uv_timer_init(&agent->loop, &agent->reclaim);
	log_timer_open(&agent->loop, &agent->log_timer);
	agent->terminate.data = agent;
	agent->interrupt.data = agent;
	agent->hangup.data = agent;
	agent->reclaim.data = agent;
	err = uv_signal_start(&agent->terminate, stop, SIGTERM);
	if (!err)
		err = uv_signal_start(&agent->interrupt, stop, SIGINT);
	/* Who starts it with nohup wants it to stay. */
	if (!err && !signal_is_ignored(SIGHUP))
		err = uv_signal_start(&agent->hangup, stop, SIGHUP);
	return err ? log_err(err, "cannot watch for signals") : 0;
}

static int programs_of_links(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	const struct agent *agent = context;

	return datapath_link_programs(agent->datapath, is_layer3, ret_programs);
}

static int hooks_open(struct agent *agent)
{
	const struct link_options options = {
		.overrides = agent->options.links,
		.programs = programs_of_links,
		.programs_context = agent,
		.pin_dir = agent->options.pin_dir,
		.links_map = datapath_map(agent->datapath, "links"),
		.attach = agent->options.with_tc,
		.force_clsact = agent->options.force_clsact,
	};
	const struct link_events events = {
		.addresses_changed = addresses_changed,
		.links_changed = links_changed,
		.context = agent,
	};

	return link_watch_open(&agent->loop, &options, &events, &agent->links);
}

/* Before anything is touched: a mistake in --cgroup must not leave half a datapath. */
static int cgroup_choose(struct agent *agent)
{
	if (!agent->options.with_socket)
		return 0;
	agent->cgroup = agent->options.cgroup ? strdup(agent->options.cgroup) : cgroup_find_root();
	if (agent->cgroup)
		return cgroup_check(agent->cgroup);
	(void)log_err(0, "no cgroup v2 is mounted: mount one, name it with --cgroup, or do without "
			 "the socket hooks (--hooks tc)");
	return -ENOENT;
}

/* Whether the kernel will take programs; said before it says no to one of them. */
static int capabilities_check(void)
{
	const uint64_t programs = 1ULL << CAP_BPF | 1ULL << CAP_PERFMON;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	uint64_t held;

	if (syscall(SYS_capget, &header, data))
		return log_err(-errno, "cannot tell which capabilities the agent has");
	held = data[0].effective | (uint64_t)data[1].effective << 32;
	if (held & 1ULL << CAP_NET_ADMIN &&
	    (held & 1ULL << CAP_SYS_ADMIN || (held & programs) == programs))
		return 0;
	(void)log_err(0, "the agent may not load programs into the kernel: run it as root, or with "
			 "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
	return -EPERM;
}

static int socket_hooks_attach(struct agent *agent)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];

	if (!agent->options.with_socket)
		return cgroup_detach_all(agent->options.pin_dir);
	datapath_socket_programs(agent->datapath, programs);
	return cgroup_attach(agent->cgroup, agent->options.pin_dir, programs, SOCKET_PROGRAM_COUNT);
}

static void status_begin(struct agent *agent)
{
	struct agent_status *status = &agent->status;

	status->pid = (__u32)getpid();
	status->started_ns = uv_hrtime();
	(void)snprintf(status->version, sizeof(status->version), "%s", FAIRLEAD_VERSION);
	(void)snprintf(status->node_name, sizeof(status->node_name), "%s",
		       agent->options.node_name);
	(void)snprintf(status->source, sizeof(status->source), "%s",
		       agent->options.manifests ? agent->options.manifests : "Kubernetes API");
	if (agent->cgroup)
		(void)snprintf(status->cgroup, sizeof(status->cgroup), "%s", agent->cgroup);
}

/* Takes up what an earlier run has left in the maps, to be changed by the publishes to come. */
static int publisher_begin(struct agent *agent)
{
	const struct publish_maps maps = datapath_publish_maps(agent->datapath);
	const struct ip_addr *addrs;
	size_t count;
	int err;

	/* Pinned maps may be larger than what was asked for. */
	agent->sizes.services = maps.services_max;
	agent->sizes.slots = maps.slots_max;
	agent->sizes.backends = maps.backends_max;
	err = publisher_open(&maps, &agent->publisher);
	if (err)
		return err;
	err = left_new(&agent->loop, datapath_map(agent->datapath, "socket_state"),
		       agent->publisher, &agent->left);
	if (err)
		return log_err(err, "cannot look after sockets");
	addrs = link_watch_addresses(agent->links, &count);
	err = publisher_set_node_addresses(agent->publisher, addrs, count);
	return err ? log_err(err, "cannot record the node's addresses") : 0;
}

/* Loads the programs and hooks the links; the socket hooks follow with datapath_finish. */
static int datapath_begin(struct agent *agent)
{
	const struct datapath_options options = {
		.pin_dir = agent->options.pin_dir,
		.sizes = agent->sizes,
		.config = agent->options.config,
		.with_tc = agent->options.with_tc,
	};
	int err = datapath_open(&options, &agent->datapath);

	if (err)
		return err;
	/* What an earlier agent said of itself is no longer so: this one is not synced. */
	status_store(agent);
	err = hooks_open(agent);
	return err ? err : publisher_begin(agent);
}

static int datapath_finish(struct agent *agent)
{
	int err = socket_hooks_attach(agent);

	if (err)
		return err;
	agent->are_sockets_hooked = true;
	observe_hooked(agent->observe);
	return datapath_commit(agent->datapath);
}

/* What is pinned and attached goes on. */
static void datapath_end(struct agent *agent)
{
	agent->are_sockets_hooked = false;
	left_tell_all(agent->left);
	left_close(take_ptr(agent->left));
	link_watch_close(take_ptr(agent->links));
	publisher_close(take_ptr(agent->publisher));
	datapath_close(take_ptr(agent->datapath));
}

/*
 * What an earlier run left in the kernel is looked after from the start, not only when the source
 * is complete, which may take long: links that come meanwhile get their hooks.
 */
static int datapath_take_up(struct agent *agent)
{
	int err;

	if (!datapath_is_pinned(agent->options.pin_dir))
		return 0;
	sizes_of_options(&agent->options, &agent->sizes);
	err = datapath_begin(agent);
	if (!err)
		err = datapath_finish(agent);
	if (!err)
		log_info("what an earlier agent has programmed stays in use until the source is "
			 "complete");
	return err;
}

/* With maps that are large enough for what the source holds. */
static int datapath_prepare(struct agent *agent, bool *ret_begun)
{
	struct datapath_sizes sizes;
	int err = sizes_of_model(agent->model, &agent->options, &sizes);

	*ret_begun = false;
	if (err)
		return log_err(err, "cannot size the maps");
	if (agent->datapath && sizes_fit(&sizes, &agent->sizes))
		return 0;
	datapath_end(agent);
	agent->sizes = sizes;
	*ret_begun = true;
	return datapath_begin(agent);
}

/*
 * The first publish: everything the source holds, then what an earlier run had and the source has
 * not.
 */
static int publish_first(struct agent *agent)
{
	int err;

	node_note(agent);
	err = publish(agent, agent->status.started_ns);
	if (!err)
		err = publisher_remove_unclaimed(agent->publisher);
	if (err)
		return log_err(err, "the first publish failed");
	left_note(agent->left);
	reclaim_schedule(agent);
	return 0;
}

static int source_take(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers numbers;
	bool begun;
	int err = datapath_prepare(agent, &begun);

	if (!err)
		err = publish_first(agent);
	if (!err && begun)
		err = datapath_finish(agent);
	if (err)
		return err;
	agent->status.synced_ns = uv_hrtime();
	status_write(agent);
	publisher_numbers(agent->publisher, &numbers);
	log_info("ready: %u service ports programmed in %llu ms", numbers.service_ports,
		 (unsigned long long)(agent->status.synced_ns - woken_ns) / 1000000);
	/* What the source has read and decoded left holes between the objects of the model. */
	memory_settle();
	return 0;
}

static void source_synced(uint64_t woken_ns, void *context)
{
	struct agent *agent = context;

	/* It is about to end, and only waits until that is told. */
	if (agent->failed)
		return;
	observe_source_complete(agent->observe);
	agent->failed = source_take(agent, woken_ns);
	if (agent->failed)
		uv_stop(&agent->loop);
}

/* The agent's way to the API server must not lead through what it programs itself. */
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
	const struct agent *agent = context;

	observe_source_reachable(agent->observe, why);
}

static void event_counted(const char *result, void *context)
{
	const struct agent *agent = context;

	observe_event(agent->observe, result);
}

static int source_open(struct agent *agent)
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
	return source_kube_open(&agent->loop,
				&(struct kube_source_options){
					.kubeconfig = agent->options.kubeconfig,
					.servers = agent->options.servers,
					.server_count = agent->options.server_count,
					.node_name = agent->options.node_name,
					.state_dir = agent->options.state_dir,
					.silence_s = agent->options.api_silence_s,
					.socket_made = own_socket_made,
					.observed = request_observed,
					.event_counted = event_counted,
				},
				agent->model, &events, &agent->source);
}

static void health_unserved(const char *note, void *context)
{
	warning_tell(context, "FailedToStartProxierHealthcheck", "StartProxy", note);
}

static int observe_begin(struct agent *agent)
{
	const struct observe_sources sources = {
		.options = &agent->options,
		.status = &agent->status,
		.model = agent->model,
		.datapath = &agent->datapath,
		.publisher = &agent->publisher,
		.unserved = health_unserved,
		.context = agent,
	};

	return observe_open(&agent->loop, &sources, &agent->observe);
}

static bool proxy_is_alive(void *context)
{
	const struct agent *agent = context;

	return observe_is_alive(agent->observe);
}

static void service_health_unserved(const char *note, void *context)
{
	warning_tell(context, "FailedToStartServiceHealthcheck", "Listen", note);
}

static int health_ports_begin(struct agent *agent)
{
	const struct service_health_options options = {
		.node_name = agent->options.node_name,
		.is_alive = proxy_is_alive,
		.failed = service_health_unserved,
		.context = agent,
	};

	agent->health_ports = service_health_ports_new(&agent->loop, &options);
	return agent->health_ports ? 0 : log_err(-ENOMEM, "cannot prepare Services' health checks");
}

static void hook_lost(const char *note, void *context)
{
	warning_tell(context, "HookLost", "AttachHook", note);
}

static int guard_begin(struct agent *agent)
{
	agent->guard = guard_new(&agent->loop, &(struct guard_sources){
						       .interval_s = agent->options.hook_check_s,
						       .pin_dir = agent->options.pin_dir,
						       .cgroup = agent->cgroup,
						       .are_hooked = &agent->are_sockets_hooked,
						       .datapath = &agent->datapath,
						       .links = &agent->links,
						       .observe = agent->observe,
						       .lost = hook_lost,
						       .context = agent,
					       });
	return agent->guard ? 0 : log_err(-ENOMEM, "cannot look after the hooks");
}

/* Two proxies serve the same Services without harm; that it stays so for long is a mistake. */
static void other_proxy_tell(struct agent *agent)
{
	char found[OTHER_PROXY_SIZE], note[2 * OTHER_PROXY_SIZE];

	if (!other_proxy_find(found))
		return;
	(void)snprintf(note, sizeof(note),
		       "kube-proxy has programmed this node too (%s): stop it, then run "
		       "`kube-proxy --cleanup`",
		       found);
	log_warning("%s", note);
	warning_tell(agent, "OtherProxyFound", "StartProxy", note);
}

static void on_patience_ends(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* Lets what the source tells about the end be told, for a moment. */
static void last_words_wait(struct agent *agent)
{
	uv_timer_t patience;

	if (!source_is_telling(agent->source))
		return;
	(void)uv_timer_init(&agent->loop, &patience);
	(void)uv_timer_start(&patience, on_patience_ends, LAST_WORDS_MS, 0);
	while (source_is_telling(agent->source) && uv_is_active((uv_handle_t *)&patience))
		(void)uv_run(&agent->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&patience, NULL);
	(void)uv_run(&agent->loop, UV_RUN_NOWAIT);
}

static int serve_begin(struct agent *agent)
{
	agent->failed = observe_serve(agent->observe);
	if (agent->failed)
		last_words_wait(agent);
	return agent->failed;
}

/* Whoever started the agent starts it anew, with the new file; the datapath goes on meanwhile. */
static void config_changed(void *context)
{
	struct agent *agent = context;

	(void)log_err(0, "the configuration file %s has changed: ending, to be started anew",
		      agent->options.config_file);
	agent->failed = -ESTALE;
	uv_stop(&agent->loop);
}

static int config_follow(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (!options->config_file)
		return 0;
	return config_watch_open(&agent->loop, options->config_file, &options->config_mark,
				 config_changed, agent, &agent->config_watch);
}

static int agent_start(struct agent *agent)
{
	int err = loop_open(agent);

	if (!err)
		err = config_follow(agent);
	if (!err)
		err = capabilities_check();
	if (!err)
		err = cgroup_choose(agent);
	if (err)
		return err;
	status_begin(agent);
	agent->model = model_new();
	if (!agent->model)
		return log_err(-ENOMEM, "cannot allocate the model");
	err = observe_begin(agent);
	if (!err)
		err = health_ports_begin(agent);
	if (!err)
		err = guard_begin(agent);
	if (!err)
		err = source_open(agent);
	if (!err)
		err = serve_begin(agent);
	if (err)
		return err;
	source_tell(agent->source, &(struct event_text){"Normal", "Starting", "StartProxy", ""});
	other_proxy_tell(agent);
	if (agent->options.manifests)
		observe_source_reachable(agent->observe, NULL);
	else
		err = datapath_take_up(agent);
	return err;
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
	guard_close(take_ptr(agent->guard));
	config_watch_close(take_ptr(agent->config_watch));
	service_health_ports_close(take_ptr(agent->health_ports));
	observe_close(take_ptr(agent->observe));
	datapath_end(agent);
	uv_walk(&agent->loop, handle_close, NULL);
	(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&agent->loop);
	model_free(agent->model);
	free(agent->cgroup);
}

static int agent_run(struct agent *agent)
{
	int err;

	oom_score_adjust(agent->options.oom_score_adj);
	err = agent_start(agent);
	if (!err)
		(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
	agent_stop(agent);
	log_repeats_tell_all();
	return err ? err : agent->failed;
}

/* In kube-proxy's order, where more than one is asked for. */
static int task_run(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (options->write_config_to)
		return kube_proxy_config_write(&options->values, options->write_config_to);
	if (options->cleanup)
		return agent_cleanup(options->pin_dir);
	if (options->init_only)
		return agent_init_only(options->pin_dir);
	return agent_run(agent);
}

int agent_main(int argc, char **argv)
{
	struct agent agent = {};
	int err;

	/* Whoever reads the log may go: Services must not notice. */
	(void)signal(SIGPIPE, SIG_IGN);
	err = agent_options_read(argc, argv, &agent.options);
	if (!err)
		err = task_run(&agent);
	agent_options_free(&agent.options);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
