/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/frontends.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "model/cidr.h"

#define WHOLE_ADDRESS 128

unsigned int frontend_rank(enum frontend_kind kind)
{
	static const __u8 ranks[] = {
		[FRONTEND_CLUSTER_IP] = 0,
		[FRONTEND_LOAD_BALANCER_IP] = 1,
		[FRONTEND_EXTERNAL_IP] = 2,
		[FRONTEND_NODE_PORT] = 3,
	};

	return ranks[kind];
}

static int frontend_compare(const void *a, const void *b)
{
	const struct planned_frontend *left = a, *right = b;
	int order = memcmp(&left->frontend, &right->frontend, sizeof(left->frontend));

	return order ? order : (int)frontend_rank(left->kind) - (int)frontend_rank(right->kind);
}

static void frontend_add(struct planned_port *port, const struct ip_addr *vip, __u16 number,
			 enum frontend_kind kind)
{
	if (address_family(vip) != port->name.family)
		return;
	port->frontends[port->frontend_count++] = (struct planned_frontend){
		.frontend = {.vip = *vip, .port = htons(number), .proto = port->name.proto},
		.kind = kind,
	};
}

/* Sorts the frontends; of those at the same address and port, the lowest rank stays (rule I114). */
static void frontends_deduplicate(struct planned_port *port)
{
	size_t kept = 0;

	qsort(port->frontends, port->frontend_count, sizeof(*port->frontends), frontend_compare);
	for (size_t i = 0; i < port->frontend_count; i++) {
		const struct planned_frontend *frontend = &port->frontends[i];

		if (!kept || memcmp(&port->frontends[kept - 1].frontend, &frontend->frontend,
				    sizeof(frontend->frontend)) != 0)
			port->frontends[kept++] = *frontend;
	}
	port->frontend_count = kept;
}

static size_t frontends_bound(const struct plan_context *context, const struct service_object *spec,
			      const struct service_port *service_port)
{
	return 1 + spec->external_ip_count + spec->load_balancer_ip_count +
	       (service_port->node_port ? context->node_port_address_count : 0);
}

static size_t ranges_bound(const struct service_object *spec)
{
	return spec->source_range_count + spec->load_balancer_ip_count;
}

size_t port_frontends_bound(const struct plan_context *context, const struct service_object *spec,
			    const struct service_port *service_port)
{
	return frontends_bound(context, spec, service_port) + ranges_bound(spec);
}

int port_plan_frontends(const struct plan_context *context, const struct service_object *spec,
			const struct service_port *service_port, const struct ip_addr *cluster_ip,
			struct planned_port *port)
{
	port->frontends =
		calloc(frontends_bound(context, spec, service_port), sizeof(*port->frontends));
	if (!port->frontends)
		return -ENOMEM;
	for (size_t i = 0; i < spec->external_ip_count; i++)
		frontend_add(port, &spec->external_ips[i], service_port->port,
			     FRONTEND_EXTERNAL_IP);
	for (size_t i = 0; i < spec->load_balancer_ip_count; i++)
		frontend_add(port, &spec->load_balancer_ips[i], service_port->port,
			     FRONTEND_LOAD_BALANCER_IP);
	if (port->frontend_count || service_port->node_port)
		port->flags |= SERVICE_EXTERNAL;
	for (size_t i = 0; service_port->node_port && i < context->node_port_address_count; i++)
		frontend_add(port, &context->node_port_addresses[i], service_port->node_port,
			     FRONTEND_NODE_PORT);
	if (cluster_ip)
		frontend_add(port, cluster_ip, service_port->port, FRONTEND_CLUSTER_IP);
	frontends_deduplicate(port);
	return 0;
}

static int cidr_compare(const void *a, const void *b)
{
	const struct cidr *left = a, *right = b;
	int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : left->prefix - right->prefix;
}

static void ranges_deduplicate(struct planned_port *port)
{
	size_t kept = 0;

	if (port->source_range_count)
		qsort(port->source_ranges, port->source_range_count, sizeof(*port->source_ranges),
		      cidr_compare);
	for (size_t i = 0; i < port->source_range_count; i++) {
		const struct cidr *range = &port->source_ranges[i];

		if (!kept || cidr_compare(&port->source_ranges[kept - 1], range))
			port->source_ranges[kept++] = *range;
	}
	port->source_range_count = kept;
}

/*
 * Selects the ranges of the port's family. False if clients are not limited: one of the ranges
 * covers every address, or there are none and none was invalid.
 */
static bool ranges_select(const struct service_object *spec, struct planned_port *port)
{
	for (size_t i = 0; i < spec->source_range_count; i++) {
		const struct cidr *range = &spec->source_ranges[i];

		if (cidr_family(range) != port->name.family)
			continue;
		if (cidr_is_everything(range))
			return false;
		port->source_ranges[port->source_range_count++] = *range;
	}
	return port->source_range_count || spec->has_bad_source_range;
}

static bool ranges_have_node(const struct plan_context *context, const struct planned_port *port)
{
	const struct ip_addr *node = &context->node_ips[port->name.family == FAMILY_IPV6];

	for (size_t i = 0; i < port->source_range_count; i++) {
		if (cidr_has(&port->source_ranges[i], node))
			return true;
	}
	return false;
}

int port_plan_source_ranges(const struct plan_context *context, const struct service_object *spec,
			    struct planned_port *port)
{
	if (!spec->load_balancer_ip_count ||
	    (!spec->source_range_count && !spec->has_bad_source_range))
		return 0;
	port->source_ranges = calloc(ranges_bound(spec), sizeof(*port->source_ranges));
	if (!port->source_ranges)
		return -ENOMEM;
	if (!ranges_select(spec, port)) {
		port->source_range_count = 0;
		return 0;
	}
	port->flags |= SERVICE_SOURCE_RANGES;
	if (ranges_have_node(context, port)) {
		port->flags |= SERVICE_NODE_ALLOWED;
		/*
		 * On a node that has the VIP on a link, packets of processes to the VIP have it as
		 * their source too.
		 */
		for (size_t i = 0; i < spec->load_balancer_ip_count; i++) {
			if (address_family(&spec->load_balancer_ips[i]) == port->name.family)
				port->source_ranges[port->source_range_count++] =
					(struct cidr){spec->load_balancer_ips[i], WHOLE_ADDRESS};
		}
	}
	ranges_deduplicate(port);
	return 0;
}
