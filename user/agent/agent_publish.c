/* SPDX-License-Identifier: BSD-2-Clause */

/* Plans and publishes the Services of the model: all changes of one wake-up in one batch. */

#include "agent/agent_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "agent/socket_reconnect.h"
#include "agent/stale_sockets.h"
#include "agent/observe.h"
#include "agent/other_proxy.h"
#include "health/service_health_ports.h"
#include "base/cleanup.h"
#include "link/link_watch.h"
#include "base/log.h"
#include "model/model.h"
#include "plan/health_check.h"
#include "plan/plan.h"
#include "publish/publish.h"

#define RETRY_S       2
#define NSEC_PER_MSEC 1000000ULL

/*
 * kube-proxy does not answer at the addresses of its IPVS link: they only direct packets to IPVS,
 * and the link may outlive kube-proxy. So a ClusterIP that is assigned to it is served all the
 * same.
 */
static const char *link_with_address(const struct ip_addr *addr, void *context)
{
	const struct agent *agent = context;
	const char *link = link_watch_owner(agent->links, addr);

	return link && strcmp(link, OTHER_PROXY_LINK) != 0 ? link : NULL;
}

/*
 * This Node's zone decides topology hints, so a change of it affects every Service (rule P179). So
 * does a change of the addresses on which NodePorts are served.
 */
void agent_look_around(struct agent *agent)
{
	const struct object *node = model_node(agent->model, agent->options.node_name);
	const char *zone = node ? labels_get(&node->labels, LABEL_ZONE) : NULL;
	const bool is_elsewhere = plan_inputs_refresh(&agent->plan_inputs, &agent->options,
						      agent->model, agent->links, agent->datapath);

	if (!strcmp(agent->zone, zone ? zone : "") && !is_elsewhere)
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
	struct plan_context plan_context = {
		.node_name = agent->options.node_name,
		.zone = *agent->zone ? agent->zone : NULL,
		.link_with_address = link_with_address,
		.link_context = agent,
	};
	const struct object *service = model_service(agent->model, namespace_, name);
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct plan plan;
	int count, err;

	plan_inputs_context(&agent->plan_inputs, &plan_context);
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
	/* A full map affects this Service only; it has been logged and is retried later. */
	return err == -ENOSPC ? 0 : err;
}

static void reclaim(uv_timer_t *timer);

/* Frees retired entries that no program can read any more, and arms the timer for the next ones. */
static void reclaim_schedule(struct agent *agent)
{
	uint64_t over_ns = agent->grace.over_ns;
	uint64_t wait_ms = publisher_reclaim(agent->publisher, over_ns);
	uint64_t passed_ms = (uv_hrtime() - over_ns) / NSEC_PER_MSEC;

	if (!wait_ms)
		(void)uv_timer_stop(&agent->reclaim);
	else
		(void)uv_timer_start(&agent->reclaim, reclaim,
				     wait_ms > passed_ms ? wait_ms - passed_ms : 1, 0);
}

static void reclaim(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	grace_begin(&agent->grace, &agent->loop);
}

void agent_grace_over(void *context)
{
	struct agent *agent = context;

	if (uv_is_closing((uv_handle_t *)&agent->reclaim))
		return;
	reclaim_schedule(agent);
	if (publisher_retry_unfitting(agent->publisher, service_publish, agent))
		log_warning("Services that did not fit could not be tried again, continuing");
	agent_status_write(agent);
}

/*
 * Answers health checks on the NodePort addresses if the operator limited those, else on all
 * addresses with one listener.
 */
static void health_ports_apply(struct agent *agent)
{
	const struct traffic_options *traffic = &agent->options.traffic;
	const struct node_port_addresses *addresses = &agent->plan_inputs.node_ports;
	bool is_limited = traffic->nodeport_address_count || traffic->is_nodeport_primary;

	if (service_health_ports_set_addresses(agent->health_ports,
					       is_limited ? addresses->addresses : NULL,
					       addresses->count))
		log_warning("memory is short: health checks of Services are answered at the "
			    "addresses of before");
	service_health_ports_apply(agent->health_ports);
}

static void retry(uv_timer_t *timer);

/* A Service that could not be published stays dirty and is retried (rule Q184). */
static void retry_schedule(struct agent *agent, int err)
{
	if (!err) {
		(void)uv_timer_stop(&agent->retry);
		return;
	}
	log_warning("not everything could be published, trying again in %d s", RETRY_S);
	(void)uv_timer_start(&agent->retry, retry, RETRY_S * 1000, 0);
}

/* Publishes every dirty Service. `woken_ns`: when the change arrived. */
static int publish(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers before, after;
	int err;

	observe_changed(agent->observe);
	publisher_numbers(agent->publisher, &before);
	err = model_drain_dirty(agent->model, service_publish, agent);
	health_ports_apply(agent);
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
	stale_sockets_collect(agent->stale_sockets);
	socket_reconnect_schedule(agent->socket_reconnect);
	reclaim_schedule(agent);
	agent_status_write(agent);
	observe_published(agent->observe, woken_ns, err);
	retry_schedule(agent, err);
	return err;
}

static void retry(uv_timer_t *timer)
{
	(void)agent_publish_changed(timer->data, uv_hrtime());
}

int agent_publish_changed(struct agent *agent, uint64_t woken_ns)
{
	agent_look_around(agent);
	return publish(agent, woken_ns);
}

int agent_publish_first(struct agent *agent)
{
	int err = agent_publish_changed(agent, agent->status.started_ns);

	if (!err)
		err = publisher_remove_unclaimed(agent->publisher);
	if (err)
		return log_err(err, "the first publish failed");
	stale_sockets_collect(agent->stale_sockets);
	reclaim_schedule(agent);
	return 0;
}

void agent_addresses_changed(void *context)
{
	struct agent *agent = context;
	const struct ip_addr *addrs;
	size_t count;

	addrs = link_watch_addresses(agent->links, &count);
	if (publisher_set_node_addresses(agent->publisher, addrs, count))
		log_warning("the node's addresses could not all be recorded");
	if (!agent->status.synced_ns)
		return;
	agent_look_around(agent);
	/* A ClusterIP may have been assigned to a link, or removed from one. */
	model_touch_all(agent->model);
	observe_all_touched(agent->observe);
	(void)publish(agent, uv_hrtime());
}
