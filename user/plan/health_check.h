/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What health checks at a Service's healthCheckNodePort are answered (rules B41, L139). */

#include "plan/plan.h"

struct planned_health_check {
	__u16 port; /* host order; 0: no listener for this Service */
	/*
	 * Addresses of ready endpoints on this node, for health checks over IPv4 and over IPv6. For
	 * a family that the Service does not have, the other family's count.
	 */
	size_t ipv4_endpoints, ipv6_endpoints;
};

/* Plans the health check of one Service. Returns 0 or -ENOMEM. Silent. */
int plan_health_check(const struct plan_context *context, const struct object *service,
		      const struct slice_object *const *slices, size_t slice_count,
		      struct planned_health_check *ret_check);
