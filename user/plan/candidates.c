/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/candidates.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/topology.h"

static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;
	int order = memcmp(&left->endpoint.addr, &right->endpoint.addr, sizeof(struct ip_addr));

	return order ? order : (int)ntohs(left->port) - (int)ntohs(right->port);
}

static int port_compare(enum ip_family family, __u8 proto, const char *name,
			const struct offered_port *offered)
{
	if (family != offered->slice->family)
		return family < offered->slice->family ? -1 : 1;
	if (proto != offered->port->proto)
		return proto - offered->port->proto;
	return strcmp(name, offered->port->name);
}

static int offered_port_compare(const void *a, const void *b)
{
	const struct offered_port *left = a;

	return port_compare(left->slice->family, left->port->proto, left->port->name, b);
}

int offered_ports_collect(const struct slice_object *const *slices, size_t slice_count,
			  struct offered_ports *ret)
{
	size_t room = 0;

	*ret = (struct offered_ports){};
	for (size_t i = 0; i < slice_count; i++)
		room += slices[i]->port_count;
	if (!room)
		return 0;
	ret->items = calloc(room, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < slice_count; i++) {
		const struct slice_object *slice = slices[i];

		for (size_t j = 0; j < slice->port_count; j++) {
			if (slice->ports[j].port)
				ret->items[ret->count++] =
					(struct offered_port){slice, &slice->ports[j]};
		}
	}
	qsort(ret->items, ret->count, sizeof(*ret->items), offered_port_compare);
	return 0;
}

/* The first of the ports that match, and how many there are; NULL if there is none. */
static const struct offered_port *offered_ports_find(const struct offered_ports *offered,
						     const struct service_port *port,
						     enum ip_family family, size_t *ret_count)
{
	size_t low = 0, high = offered->count, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (port_compare(family, port->proto, port->name, &offered->items[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < offered->count; end++) {
		if (port_compare(family, port->proto, port->name, &offered->items[end]) != 0)
			break;
	}
	*ret_count = end - low;
	return *ret_count ? offered->items + low : NULL;
}

size_t candidates_bound(const struct service_port *port, enum ip_family family,
			const struct offered_ports *offered)
{
	size_t count, bound = 0;
	const struct offered_port *found = offered_ports_find(offered, port, family, &count);

	for (size_t i = 0; i < count; i++)
		bound += found[i].slice->endpoint_count;
	return bound;
}

static void slice_gather(const struct plan_context *context, const struct slice_object *slice,
			 const struct slice_port *port, struct candidates *ret)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct slice_endpoint endpoint = slice_endpoint_at(slice, i);

		ret->items[ret->count++] = (struct candidate){
			.endpoint = endpoint,
			.port = htons(port->port),
			.is_local = context->node_name && endpoint.node_name &&
				    !strcmp(endpoint.node_name, context->node_name),
		};
	}
}

/* NULL sorts before any text. */
static int text_compare(const char *a, const char *b)
{
	if (!a || !b)
		return !!a - !!b;
	return strcmp(a, b);
}

static int texts_compare(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	int order = 0;

	for (size_t i = 0; !order && i < a_count && i < b_count; i++)
		order = text_compare(a[i], b[i]);
	return order ? order : (int)a_count - (int)b_count;
}

/*
 * Of two copies of an endpoint, the one that is not terminating wins (rule A19), then the one that
 * is ready, then serving, then local. If all these are equal, node name and hints decide, and never
 * the order of arrival: all agents, also after a restart, choose the same.
 */
static bool candidate_is_better(const struct candidate *a, const struct candidate *b)
{
	const struct slice_endpoint *left = &a->endpoint, *right = &b->endpoint;
	int order;

	if (left->terminating != right->terminating)
		return right->terminating;
	if (left->ready != right->ready)
		return left->ready;
	if (left->serving != right->serving)
		return left->serving;
	if (a->is_local != b->is_local)
		return a->is_local;
	order = text_compare(left->node_name, right->node_name);
	if (!order)
		order = texts_compare(left->zone_hints, left->zone_hint_count, right->zone_hints,
				      right->zone_hint_count);
	if (!order)
		order = texts_compare(left->node_hints, left->node_hint_count, right->node_hints,
				      right->node_hint_count);
	return order < 0;
}

static void candidates_deduplicate(struct candidates *candidates)
{
	size_t kept = 0;

	for (size_t i = 0; i < candidates->count; i++) {
		struct candidate *candidate = &candidates->items[i];

		if (!kept || candidate_compare(&candidates->items[kept - 1], candidate))
			candidates->items[kept++] = *candidate;
		else if (candidate_is_better(candidate, &candidates->items[kept - 1]))
			candidates->items[kept - 1] = *candidate;
	}
	candidates->count = kept;
}

int candidates_gather(const struct plan_context *context, const struct service_port *port,
		      enum ip_family family, const struct offered_ports *offered,
		      struct candidates *ret)
{
	size_t count, bound = candidates_bound(port, family, offered);
	const struct offered_port *found = offered_ports_find(offered, port, family, &count);

	*ret = (struct candidates){};
	if (!bound)
		return 0;
	ret->items = calloc(bound, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		slice_gather(context, found[i].slice, found[i].port, ret);
	qsort(ret->items, ret->count, sizeof(*ret->items), candidate_compare);
	candidates_deduplicate(ret);
	return 0;
}

static bool is_serving_terminating(const struct slice_endpoint *endpoint)
{
	return endpoint->serving && endpoint->terminating;
}

void candidates_mark_cluster(const struct plan_context *context, struct candidates *candidates)
{
	enum topology_mode mode = topology_mode_of(context, candidates);
	bool any_ready = false;

	for (size_t i = 0; i < candidates->count; i++) {
		struct candidate *candidate = &candidates->items[i];

		any_ready |= candidate->endpoint.ready;
		candidate->in_cluster = candidate->endpoint.ready &&
					topology_fits(context, mode, &candidate->endpoint);
	}
	for (size_t i = 0; !any_ready && i < candidates->count; i++)
		candidates->items[i].in_cluster =
			is_serving_terminating(&candidates->items[i].endpoint);
}

void candidates_mark_local(struct candidates *candidates)
{
	bool any_ready = false;

	for (size_t i = 0; i < candidates->count; i++) {
		struct candidate *candidate = &candidates->items[i];

		candidate->in_local = candidate->is_local && candidate->endpoint.ready;
		any_ready |= candidate->in_local;
	}
	for (size_t i = 0; !any_ready && i < candidates->count; i++)
		candidates->items[i].in_local =
			candidates->items[i].is_local &&
			is_serving_terminating(&candidates->items[i].endpoint);
}

bool candidates_any_usable(const struct candidates *candidates)
{
	for (size_t i = 0; i < candidates->count; i++) {
		const struct slice_endpoint *endpoint = &candidates->items[i].endpoint;

		if (endpoint->ready || is_serving_terminating(endpoint))
			return true;
	}
	return false;
}
