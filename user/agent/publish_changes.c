/* SPDX-License-Identifier: BSD-2-Clause */

/* Plans and publishes the Services of the model: all changes of one wake-up in one batch. */

#include "agent/agent_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "agent/event_posts.h"
#include "agent/hook_guard.h"
#include "agent/socket_reconnect.h"
#include "agent/stale_sockets.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "decode/manifest_check.h"
#include "health/service_health.h"
#include "link/link_watch.h"
#include "model/model.h"
#include "node/other_proxy.h"
#include "plan/health_check.h"
#include "plan/plan.h"
#include "publish/publisher.h"

#define RETRY_S        2
#define FAILURES_NAMED 3
/* A burst of new Services makes the maps grow once. */
#define GROW_DELAY_MS 500
/*
 * Sizing plans every Service, so an attempt that did not help is repeated after a minute at the
 * earliest.
 */
#define GROW_PAUSE_MS 60000

/*
 * kube-proxy does not answer at the addresses of its IPVS link: they only direct packets to IPVS,
 * and the link may outlive kube-proxy. So a ClusterIP that is assigned to it is served all the
 * same.
 */
static const char *link_with_address(const struct ip_addr *addr, void *context)
{
	const struct agent *agent = context;
	const char *link = link_watch_owner(agent->plane->links, addr);

	return link && strcmp(link, OTHER_PROXY_LINK) != 0 ? link : NULL;
}

static void agent_mark_all_dirty(struct agent *agent)
{
	model_mark_all_dirty(agent->model);
	agent->publishing.is_next_full = true;
}

/*
 * This Node's zone decides topology hints, so a change of it affects every Service (rule P179). So
 * does a change of the addresses on which NodePorts are served.
 */
void agent_refresh_inputs(struct agent *agent)
{
	if (plan_inputs_refresh(&agent->publishing.inputs, &agent->options, agent->model,
				agent->plane))
		agent_mark_all_dirty(agent);
}

/* Without an API server, nobody else gives a Service its ClusterIP. */
static const char *no_cluster_ip(const struct agent_options *options)
{
	if (!options->manifests)
		return NULL;
	return options->traffic.service_cidr_count
		       ? "--service-cidr has none for it, as the log says"
		       : NO_CLUSTER_IP_REMEDY;
}

static int health_check_publish(struct agent *agent, const struct plan_context *context,
				const struct object *service,
				const struct slice_object *const *slices, size_t slice_count)
{
	struct planned_health_check check;
	int err = plan_health_check(context, service, slices, slice_count, &check);

	if (err)
		return err;
	return service_health_ports_plan(agent->health_ports, service->namespace_, service->name,
					 &check);
}

/* Silent: failures are reported together. */
static int service_publish(const char *namespace_, const char *name, void *context)
{
	struct agent *agent = context;
	struct plan_context plan_context = {
		.node_name = agent->options.node_name,
		.link_with_address = link_with_address,
		.link_context = agent,
		.no_cluster_ip = no_cluster_ip(&agent->options),
	};
	const struct object *service = model_service(agent->model, namespace_, name);
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct plan plan;
	int count, err;

	plan_inputs_context(&agent->publishing.inputs, &plan_context);
	if (!service) {
		(void)service_health_ports_plan(agent->health_ports, namespace_, name, NULL);
		return publisher_apply(agent->plane->publisher, namespace_, name, NULL);
	}
	count = model_slices(agent->model, service, &slices);
	if (count < 0)
		return count;
	err = health_check_publish(agent, &plan_context, service, slices, (size_t)count);
	if (err)
		return err;
	err = plan_service(&plan_context, service, slices, (size_t)count, &plan);
	if (err)
		return err;
	err = publisher_apply(agent->plane->publisher, namespace_, name, &plan);
	plan_fini(&plan);
	/* A full map affects this Service only; it has been logged and is retried later. */
	return err == -ENOSPC ? 0 : err;
}

static void reclaim_on_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	grace_begin(&agent->publishing.grace, &agent->loop);
}

/* Frees retired entries that no program can read any more, and arms the timer for the next ones. */
static void reclaim_retired(struct agent *agent)
{
	struct publishing *publishing = &agent->publishing;
	uint64_t over_ns = publishing->grace.over_ns;
	uint64_t wait_ms = publisher_reclaim(agent->plane->publisher, over_ns);
	uint64_t passed_ms = (uv_hrtime() - over_ns) / NS_PER_MS;

	if (!wait_ms)
		(void)uv_timer_stop(&publishing->reclaim);
	else
		(void)uv_timer_start(&publishing->reclaim, reclaim_on_timer,
				     wait_ms > passed_ms ? wait_ms - passed_ms : 1, 0);
}

/*
 * Answers health checks on the NodePort addresses if the operator limited those, else on all
 * addresses with one listener.
 */
static void health_ports_apply(struct agent *agent)
{
	const struct traffic_options *traffic = &agent->options.traffic;
	const struct node_port_addresses *addresses = &agent->publishing.inputs.node_ports;
	bool is_limited = traffic->nodeport_address_count || traffic->is_nodeport_primary;

	if (service_health_ports_set_addresses(agent->health_ports,
					       is_limited ? addresses->addresses : NULL,
					       addresses->count))
		log_warning("memory is short: health checks of Services are answered at the "
			    "previous addresses");
	service_health_ports_apply(agent->health_ports);
}

/* Services that could not be published; the first few are named, with the reasons. */
struct failures {
	size_t count;
	char text[FAILURES_SIZE];
};

static void failure_collect(const char *namespace_, const char *name, int err, void *context)
{
	struct failures *failures = context;
	size_t len = strlen(failures->text);

	if (failures->count++ < FAILURES_NAMED)
		(void)snprintf(failures->text + len, sizeof(failures->text) - len, "%s%s/%s: %s",
			       len ? ", " : "", namespace_, name, strerror(-err));
}

static void retry_on_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	if (agent->failed)
		return;
	model_retry_failed(agent->model);
	agent_publish_changed(agent, uv_hrtime());
}

static int served_count(const struct object *service, void *context)
{
	*(size_t *)context += object_is_served_service(service);
	return 0;
}

static enum publish_result result_of(struct agent *agent, size_t failed)
{
	size_t served = 0;

	if (!failed)
		return PUBLISH_COMPLETE;
	(void)model_each(agent->model, OBJECT_SERVICE, served_count, &served);
	return failed < served ? PUBLISH_PARTIAL : PUBLISH_FAILED;
}

/*
 * Services that could not be published are set aside, and the timer tries them again (rule Q184),
 * however often others change meanwhile. Logs when they are others than before.
 */
static enum publish_result failures_retry(struct agent *agent)
{
	struct publishing *publishing = &agent->publishing;
	struct failures failures = {};
	size_t len;

	model_each_failed(agent->model, failure_collect, &failures);
	len = strlen(failures.text);
	if (failures.count > FAILURES_NAMED)
		(void)snprintf(failures.text + len, sizeof(failures.text) - len, ", and %zu more",
			       failures.count - FAILURES_NAMED);
	if (strcmp(failures.text, publishing->failures) != 0) {
		memcpy(publishing->failures, failures.text, sizeof(failures.text));
		if (failures.count)
			log_warning("not everything could be published, trying again in %d s: %s",
				    RETRY_S, failures.text);
		else
			log_info("everything is published again");
	}
	if (!failures.count)
		(void)uv_timer_stop(&publishing->retry);
	else if (!uv_is_active((uv_handle_t *)&publishing->retry))
		(void)uv_timer_start(&publishing->retry, retry_on_timer, RETRY_S * MS_PER_S, 0);
	return result_of(agent, failures.count);
}

static void taken_post(const struct service_name *name, const char *detail, void *context)
{
	const struct agent *agent = context;

	event_post_taken(agent->source, name->namespace_, name->name, detail);
}

bool agent_is_about_to_grow(const struct agent *agent)
{
	const struct publishing *publishing = &agent->publishing;

	return uv_is_active((const uv_handle_t *)&publishing->grow) && !publishing->is_room_short;
}

/*
 * Maps grow as they do at a start: the plane is opened anew with larger ones, which get the content
 * of those of before and what did not fit; then programs that use them replace those of before.
 */
static void grow_on_timer(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	struct publishing *publishing = &agent->publishing;
	const uint64_t begun_ns = uv_hrtime();
	struct publisher_numbers numbers;
	bool is_new;
	int err;

	if (agent->failed)
		return;
	/* The maps grow once the pins can be reached again. */
	if (!hook_guard_pins_are_reachable(agent->hook_guard)) {
		publishing->is_room_short = true;
		(void)uv_timer_start(timer, grow_on_timer, GROW_PAUSE_MS, 0);
		return;
	}
	publisher_numbers(agent->plane->publisher, &numbers);
	publishing->unfitting_in_vain = numbers.unfitting;
	publishing->is_room_short = false;
	err = agent_ensure_plane(agent, &is_new);
	if (!is_new)
		publishing->is_room_short = true;
	if (!err && is_new) {
		agent_publish_first(agent, begun_ns);
		err = agent_complete_plane(agent);
	}
	if (err && is_new) {
		agent->failed = err;
		uv_stop(&agent->loop);
		return;
	}
	if (is_new && !publishing->is_room_short)
		log_info("the programs use larger maps, after %llu ms",
			 (unsigned long long)(uv_hrtime() - begun_ns) / NS_PER_MS);
	if (!is_new) /* sizing has marked everything dirty */
		agent_publish_changed(agent, begun_ns);
}

bool agent_grow_now(void *context)
{
	struct agent *agent = context;
	uv_timer_t *timer = &agent->publishing.grow;

	return agent->status.synced_ns && !uv_timer_start(timer, grow_on_timer, 0, 0);
}

/* Schedules larger maps if the last publish refused Services, unless growing has just failed. */
static void grow_schedule(struct agent *agent, const struct publisher_numbers *before,
			  const struct publisher_numbers *after)
{
	struct publishing *publishing = &agent->publishing;

	if (publishing->unfitting_in_vain > after->unfitting)
		publishing->unfitting_in_vain = after->unfitting;
	if (after->refused_service_ports == before->refused_service_ports ||
	    (publishing->is_room_short && after->unfitting <= publishing->unfitting_in_vain))
		return;
	if (!agent->status.synced_ns || uv_is_active((const uv_handle_t *)&publishing->grow))
		return;
	(void)uv_timer_start(&publishing->grow, grow_on_timer,
			     publishing->is_room_short ? GROW_PAUSE_MS : GROW_DELAY_MS, 0);
}

/* Publishes every dirty Service. `woken_ns`: when the change arrived. */
static void publish_dirty(struct agent *agent, uint64_t woken_ns)
{
	const struct plane *plane = agent->plane;
	struct agent_status *status = &agent->status;
	struct publisher_numbers before, after;
	enum publish_result result;

	telemetry_publish_begins(&agent->telemetry);
	publisher_numbers(plane->publisher, &before);
	(void)model_drain_dirty(agent->model, service_publish, agent);
	result = failures_retry(agent);
	health_ports_apply(agent);
	publisher_numbers(plane->publisher, &after);
	if (after.changed_service_ports != before.changed_service_ports) {
		status->last_publish_ns = uv_hrtime();
		status->last_publish_took_ns = status->last_publish_ns - woken_ns;
		status->publishes++;
		log_debug("published %llu service ports in %llu us",
			  (unsigned long long)(after.changed_service_ports -
					       before.changed_service_ports),
			  (unsigned long long)(status->last_publish_took_ns / NS_PER_US));
	}
	stale_sockets_collect(plane->stale_sockets);
	socket_reconnect_schedule(plane->socket_reconnect);
	publisher_drain_taken(plane->publisher, taken_post, agent);
	reclaim_retired(agent);
	grow_schedule(agent, &before, &after);
	agent_status_update(agent);
	telemetry_published(&agent->telemetry, woken_ns, agent->publishing.is_next_full, result);
	if (result == PUBLISH_COMPLETE)
		agent->publishing.is_next_full = false;
}

void agent_publish_changed(struct agent *agent, uint64_t woken_ns)
{
	agent_refresh_inputs(agent);
	publish_dirty(agent, woken_ns);
}

static void failure_claim(const char *namespace_, const char *name, int err, void *context)
{
	const struct agent *agent = context;

	(void)err;
	publisher_claim(agent->plane->publisher, namespace_, name);
}

void agent_publish_first(struct agent *agent, uint64_t woken_ns)
{
	agent_publish_changed(agent, woken_ns);
	model_each_failed(agent->model, failure_claim, agent);
	publisher_remove_unclaimed(agent->plane->publisher);
	stale_sockets_collect(agent->plane->stale_sockets);
	reclaim_retired(agent);
}

struct unfitting {
	struct model *model;
	bool has_any;
};

static int unfitting_mark_dirty(const char *namespace_, const char *name, void *context)
{
	struct unfitting *unfitting = context;

	unfitting->has_any = true;
	model_mark_dirty(unfitting->model, namespace_, name);
	return 0;
}

/* A grace period has ended: no program reads what was retired before it. */
static void reclaim_on_grace_over(void *context)
{
	struct agent *agent = context;
	struct unfitting unfitting = {.model = agent->model};

	if (uv_is_closing((uv_handle_t *)&agent->publishing.reclaim) || !agent->plane)
		return;
	reclaim_retired(agent);
	(void)publisher_retry_unfitting(agent->plane->publisher, unfitting_mark_dirty, &unfitting);
	if (unfitting.has_any)
		publish_dirty(agent, uv_hrtime());
	else
		agent_status_update(agent);
}

void agent_publishing_init(struct agent *agent)
{
	struct publishing *publishing = &agent->publishing;

	(void)uv_timer_init(&agent->loop, &publishing->reclaim);
	(void)uv_timer_init(&agent->loop, &publishing->retry);
	(void)uv_timer_init(&agent->loop, &publishing->grow);
	publishing->reclaim.data = agent;
	publishing->retry.data = agent;
	publishing->grow.data = agent;
	publishing->grace.over = reclaim_on_grace_over;
	publishing->grace.context = agent;
}

void agent_addresses_changed(void *context)
{
	struct agent *agent = context;
	const struct ip_addr *addrs;
	size_t count;

	addrs = link_watch_addresses(agent->plane->links, &count);
	(void)publisher_write_node_addresses(agent->plane->publisher, addrs, count);
	if (!agent->status.synced_ns)
		return;
	agent_refresh_inputs(agent);
	/* A ClusterIP may have been assigned to a link, or removed from one. */
	agent_mark_all_dirty(agent);
	publish_dirty(agent, uv_hrtime());
}
