/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "plan/candidates.h"
#include "plan/frontends.h"

static void detail_set(struct planned_port *port, const char *text)
{
	(void)snprintf(port->detail, sizeof(port->detail), "%s", text);
}

static void name_set(const struct object *service, struct planned_port *port)
{
	(void)snprintf(port->name.namespace_, NAME_SIZE, "%s", service->namespace_);
	(void)snprintf(port->name.name, NAME_SIZE, "%s", service->name);
	port->name.type = service->service.type;
}

/* Returns why no port of the Service is programmed (rules A2, A6), or 0. */
static enum unprogrammed_reason service_unprogrammed(const struct plan_context *context,
						     const struct object *service,
						     const char **ret_detail)
{
	const struct service_object *spec = &service->service;

	*ret_detail = labels_get(&service->labels, LABEL_PROXY_NAME);
	if (*ret_detail)
		return UNPROGRAMMED_OTHER_PROXY;
	*ret_detail = "";
	if (spec->type == SERVICE_TYPE_EXTERNAL_NAME)
		return UNPROGRAMMED_EXTERNAL_NAME;
	if (spec->headless)
		return UNPROGRAMMED_HEADLESS;
	if (!spec->cluster_ip_count) {
		*ret_detail = context->no_cluster_ip ? context->no_cluster_ip : "";
		return UNPROGRAMMED_NO_CLUSTER_IP;
	}
	return spec->port_count ? 0 : UNPROGRAMMED_NO_PORTS;
}

/*
 * True if something on this node answers for the address: a port that is programmed, or the link of
 * this node that has it.
 */
static bool plan_answers(const struct plan *plan, const struct ip_addr *cluster_ip)
{
	for (size_t i = 0; i < plan->port_count; i++) {
		const struct planned_port *port = &plan->ports[i];

		if (port->name.family == address_family(cluster_ip) &&
		    port->unprogrammed != UNPROGRAMMED_PROTOCOL &&
		    port->unprogrammed != UNPROGRAMMED_MAP_FULL)
			return true;
	}
	return false;
}

static void plan_leave_alone(const struct service_object *spec, struct plan *plan)
{
	for (size_t i = 0; i < spec->cluster_ip_count; i++) {
		if (!plan_answers(plan, &spec->cluster_ips[i]))
			plan->left_alone[plan->left_alone_count++] = spec->cluster_ips[i];
	}
}

static int plan_unprogrammed(const struct object *service, enum unprogrammed_reason reason,
			     const char *detail, struct plan *plan)
{
	plan->ports = calloc(1, sizeof(*plan->ports));
	if (!plan->ports)
		return -ENOMEM;
	plan->port_count = 1;
	name_set(service, plan->ports);
	plan->ports->unprogrammed = reason;
	detail_set(plan->ports, detail);
	/* A Service that has become an ExternalName has given its ClusterIP back (rule A6). */
	if (reason != UNPROGRAMMED_EXTERNAL_NAME)
		plan_leave_alone(&service->service, plan);
	return 0;
}

static int port_set_backends(const struct candidates *candidates, struct planned_port *port)
{
	if (!candidates->count)
		return 0;
	port->backends = calloc(candidates->count, sizeof(*port->backends));
	if (!port->backends)
		return -ENOMEM;
	port->backend_count = candidates->count;
	for (size_t i = 0; i < candidates->count; i++) {
		const struct candidate *candidate = &candidates->items[i];

		port->backends[i] = (struct planned_backend){
			.addr = candidate->endpoint.addr,
			.port = candidate->port,
			.is_local = candidate->is_local,
			.has_node = candidate->endpoint.node_name,
			.terminating = candidate->endpoint.terminating,
			.in_cluster = candidate->in_cluster,
			.in_local = candidate->in_local,
		};
		port->name.ready += candidate->endpoint.ready;
		port->name.draining += candidate->endpoint.terminating;
	}
	port->name.total = (__u32)candidates->count;
	return 0;
}

/*
 * Marks the sets that the port needs (rules E59 and E60). The ClusterIP needs the one that
 * internalTrafficPolicy selects. Frontends for clients from outside need the one that
 * externalTrafficPolicy selects, and for near clients always the Cluster set.
 */
static void port_select(const struct plan_context *context, const struct service_object *spec,
			struct candidates *candidates, struct planned_port *port)
{
	bool is_external = port->flags & SERVICE_EXTERNAL;

	if (spec->internal_local)
		port->flags |= SERVICE_INTERNAL_LOCAL;
	if (spec->external_local && is_external)
		port->flags |= SERVICE_EXTERNAL_LOCAL;
	port->uses_cluster = !spec->internal_local || is_external;
	port->uses_local = port->flags & (SERVICE_INTERNAL_LOCAL | SERVICE_EXTERNAL_LOCAL);
	if (port->uses_cluster)
		candidates_mark_cluster(context, candidates);
	if (port->uses_local)
		candidates_mark_local(candidates);
	port->empty_cluster = EMPTY_REJECT;
	port->empty_local = candidates_any_usable(candidates) ? EMPTY_DROP : EMPTY_REJECT;
	port->affinity_timeout_s = spec->affinity_timeout_s;
}

static void cleanup_candidates(const struct candidates *candidates)
{
	free(candidates->items);
}

/* The common input for planning the ports of a Service. */
struct plan_input {
	const struct plan_context *context;
	const struct object *service;
	struct offered_ports offered;
	size_t room; /* of PLAN_ITEMS_MAX, for the ports that are left */
};

static void plan_input_fini(const struct plan_input *input)
{
	free(input->offered.items);
}

static void port_name(const struct object *service, const struct service_port *service_port,
		      enum ip_family family, struct planned_port *port)
{
	name_set(service, port);
	(void)snprintf(port->name.port_name, NAME_SIZE, "%s", service_port->name);
	port->name.proto = service_port->proto;
	port->name.family = family;
}

/* Plans the backends of a port. */
static int port_plan_backends(const struct plan_input *input,
			      const struct service_port *service_port, struct planned_port *port)
{
	auto_cleanup(cleanup_candidates) struct candidates candidates = {};
	int err = candidates_gather(input->context, service_port, port->name.family,
				    &input->offered, &candidates);

	if (err)
		return err;
	port_select(input->context, &input->service->service, &candidates, port);
	return port_set_backends(&candidates, port);
}

/* Plans one port in the family of one ClusterIP. */
static int port_plan(struct plan_input *input, const struct service_port *service_port,
		     const struct ip_addr *cluster_ip, struct planned_port *port)
{
	const struct plan_context *context = input->context;
	const struct service_object *spec = &input->service->service;
	const char *link = context->link_with_address(cluster_ip, context->link_context);
	size_t bound;
	int err;

	port_name(input->service, service_port, address_family(cluster_ip), port);
	if (!service_port->proto) {
		port->unprogrammed = UNPROGRAMMED_PROTOCOL;
		if (service_port->unknown_proto)
			detail_set(port, service_port->unknown_proto);
		return 0;
	}
	bound = port_frontends_bound(context, spec, service_port) +
		candidates_bound(service_port, address_family(cluster_ip), &input->offered);
	if (bound > input->room) {
		port->unprogrammed = UNPROGRAMMED_MAP_FULL;
		(void)snprintf(port->detail, sizeof(port->detail),
			       "more than %u addresses and endpoints: split the Service",
			       PLAN_ITEMS_MAX);
		return 0;
	}
	input->room -= bound;
	err = port_plan_frontends(context, spec, service_port, link ? NULL : cluster_ip, port);
	if (err)
		return err;
	if (!port->frontend_count) {
		port->unprogrammed = UNPROGRAMMED_LOCAL_ADDRESS;
		detail_set(port, link);
		return 0;
	}
	err = port_plan_source_ranges(context, spec, port);
	if (err)
		return err;
	return port_plan_backends(input, service_port, port);
}

int plan_service(const struct plan_context *context, const struct object *service,
		 const struct slice_object *const *slices, size_t slice_count,
		 struct plan *ret_plan)
{
	auto_cleanup(plan_input_fini) struct plan_input input = {
		.context = context, .service = service, .room = PLAN_ITEMS_MAX};
	const struct service_object *spec = &service->service;
	enum unprogrammed_reason reason;
	struct plan plan = {};
	const char *detail;
	int err;

	plan.created_s = spec->created_s;
	*ret_plan = plan;
	reason = service_unprogrammed(context, service, &detail);
	if (reason)
		return plan_unprogrammed(service, reason, detail, ret_plan);
	err = offered_ports_collect(slices, slice_count, &input.offered);
	if (err)
		return err;
	plan.ports = calloc(spec->port_count * spec->cluster_ip_count, sizeof(*plan.ports));
	if (!plan.ports)
		return -ENOMEM;
	for (size_t i = 0; i < spec->port_count; i++) {
		for (size_t j = 0; j < spec->cluster_ip_count; j++) {
			err = port_plan(&input, &spec->ports[i], &spec->cluster_ips[j],
					&plan.ports[plan.port_count++]);
			if (err) {
				plan_fini(&plan);
				return err;
			}
		}
	}
	plan_leave_alone(spec, &plan);
	*ret_plan = plan;
	return 0;
}

void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->port_count; i++) {
		free(plan->ports[i].frontends);
		free(plan->ports[i].source_ranges);
		free(plan->ports[i].backends);
	}
	free(plan->ports);
	*plan = (struct plan){};
}
