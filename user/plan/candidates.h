/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The endpoints of a service port that may be chosen: kube-proxy's group E. */

#include "plan/plan.h"

/* An endpoint of one service port, with what the rules decide about it. */
struct candidate {
	struct slice_endpoint endpoint; /* borrows from the slice */
	__be16 port;
	bool is_local;
	bool in_cluster;
	bool in_local;
};

struct candidates {
	struct candidate *items; /* each address:port once, ascending by address and port */
	size_t count;
};

/* A port of a slice. */
struct offered_port {
	const struct slice_object *slice;
	const struct slice_port *port;
};

/*
 * The ports of a Service's slices, in an order in which those that match a service port are found
 * without a look at all others. It borrows from the slices.
 */
struct offered_ports {
	struct offered_port *items; /* ascending by family, protocol and name */
	size_t count;
};

/* Returns 0 or -ENOMEM; the caller frees ret->items. */
int offered_ports_collect(const struct slice_object *const *slices, size_t slice_count,
			  struct offered_ports *ret);

/* The most endpoints that slices of `family` can have for the port. */
size_t candidates_bound(const struct service_port *port, enum ip_family family,
			const struct offered_ports *offered);

/*
 * Gathers the endpoints that slices of `family` have for the port of that name and protocol (rules
 * A11 to A19). Returns 0 or -ENOMEM; the caller frees ret->items.
 */
int candidates_gather(const struct plan_context *context, const struct service_port *port,
		      enum ip_family family, const struct offered_ports *offered,
		      struct candidates *ret);

/* Marks the members of the Cluster set (rule E62) and of the Local set (rule E63). */
void candidates_mark_cluster(const struct plan_context *context, struct candidates *candidates);
void candidates_mark_local(struct candidates *candidates);

/* True if any endpoint, on whatever node, may be used (rule E74). */
bool candidates_any_usable(const struct candidates *candidates);
