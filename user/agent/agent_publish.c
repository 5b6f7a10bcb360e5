/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the model holds is planned and published: everything that one wake-up brought in one go.
 */

#include "agent/agent_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "agent/left.h"
#include "agent/observe.h"
#include "cleanup.h"
#include "link/link.h"
#include "log.h"
#include "model/model.h"
#include "plan/plan.h"
#include "publish/publish.h"

#define RETRY_S 2

static const char *link_with_address(const struct ip_addr *addr, void *context)
{
	const struct agent *agent = context;

	return link_watch_owner(agent->links, addr);
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

	if (!service)
		return publisher_apply(agent->publisher, namespace_, name, NULL);
	count = model_slices(agent->model, service, &slices);
	if (count < 0)
		return log_err(count, "cannot find the endpoints of service %s/%s", namespace_,
			       name);
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
	agent_status_write(agent);
}

static void retry(uv_timer_t *timer);

/* What could not be published stays dirty (rule Q184). */
static void retry_schedule(struct agent *agent, int err)
{
	if (!err) {
		(void)uv_timer_stop(&agent->retry);
		return;
	}
	log_warning("not everything could be published, trying again in %d s", RETRY_S);
	(void)uv_timer_start(&agent->retry, retry, RETRY_S * 1000, 0);
}

/* Publishes every dirty Service. `woken_ns`: when the change came. */
static int publish(struct agent *agent, uint64_t woken_ns)
{
	struct publisher_numbers before, after;
	int err;

	observe_changed(agent->observe);
	publisher_numbers(agent->publisher, &before);
	err = model_drain_dirty(agent->model, service_publish, agent);
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
	node_note(agent);
	return publish(agent, woken_ns);
}

int agent_publish_first(struct agent *agent)
{
	int err = agent_publish_changed(agent, agent->status.started_ns);

	if (!err)
		err = publisher_remove_unclaimed(agent->publisher);
	if (err)
		return log_err(err, "the first publish failed");
	left_note(agent->left);
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
	/* A ClusterIP may have come to a link, or gone from one. */
	model_touch_all(agent->model);
	observe_all_touched(agent->observe);
	(void)publish(agent, uv_hrtime());
}
