/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What load balancers are told about a Service at its healthCheckNodePort (rules B41, L139). */

#include "plan/plan.h"

struct planned_health_check {
	__u16 port; /* host order; 0: nobody listens for this Service */
	/*
	 * Addresses of ready endpoints on this node, for who asks by IPv4 and by IPv6. Of a family
	 * that the Service has not, the other one's.
	 */
	size_t ipv4_endpoints, ipv6_endpoints;
};

/* Plans it for one Service. Returns 0 or -ENOMEM. Silent. */
int plan_health_check(const struct plan_context *context, const struct object *service,
		      const struct slice_object *const *slices, size_t slice_count,
		      struct planned_health_check *ret_check);
