/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/candidates.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/topology.h"

static bool port_matches(const struct slice_port *slice_port, const struct service_port *port)
{
	return slice_port->port && slice_port->proto == port->proto &&
	       !strcmp(slice_port->name, port->name);
}

static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;
	int order = memcmp(&left->endpoint.addr, &right->endpoint.addr, sizeof(struct ip_addr));

	return order ? order : (int)ntohs(left->port) - (int)ntohs(right->port);
}

size_t candidates_bound(const struct service_port *port, enum ip_family family,
			const struct slice_list *slices)
{
	size_t bound = 0;

	for (size_t i = 0; i < slices->count; i++) {
		const struct slice_object *slice = slices->items[i];

		for (size_t j = 0; slice->family == family && j < slice->port_count; j++)
			bound += port_matches(&slice->ports[j], port) ? slice->endpoint_count : 0;
	}
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
		      enum ip_family family, const struct slice_list *slices,
		      struct candidates *ret)
{
	size_t bound = candidates_bound(port, family, slices);

	*ret = (struct candidates){};
	if (!bound)
		return 0;
	ret->items = calloc(bound, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < slices->count; i++) {
		const struct slice_object *slice = slices->items[i];

		for (size_t j = 0; slice->family == family && j < slice->port_count; j++) {
			if (port_matches(&slice->ports[j], port))
				slice_gather(context, slice, &slice->ports[j], ret);
		}
	}
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
