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

/* The slices of one Service, of all families. */
struct slice_list {
	const struct slice_object *const *items; /* borrowed */
	size_t count;
};

/* The most endpoints that slices of `family` can have for the port. */
size_t candidates_bound(const struct service_port *port, enum ip_family family,
			const struct slice_list *slices);

/*
 * Gathers the endpoints that slices of `family` have for the port of that name and protocol (rules
 * A11 to A19). Returns 0 or -ENOMEM; the caller frees ret->items.
 */
int candidates_gather(const struct plan_context *context, const struct service_port *port,
		      enum ip_family family, const struct slice_list *slices,
		      struct candidates *ret);

/* Marks the members of the Cluster set (rule E62) and of the Local set (rule E63). */
void candidates_mark_cluster(const struct plan_context *context, struct candidates *candidates);
void candidates_mark_local(struct candidates *candidates);

/* True if any endpoint, on whatever node, may be used (rule E74). */
bool candidates_any_usable(const struct candidates *candidates);
