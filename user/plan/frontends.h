/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The frontends of a service port and the clients of its load-balancer IPs: groups B and I. */

#include "plan/plan.h"

/* The most frontends and source ranges that a service port may have in one family. */
size_t port_frontends_bound(const struct plan_context *context, const struct service_object *spec,
			    const struct service_port *service_port);

/*
 * Plans the frontends of a service port in one family, each once, ascending. `cluster_ip` is NULL
 * if the ClusterIP is left alone. Sets SERVICE_EXTERNAL if there may be clients from outside (rule
 * B30). Returns 0 or -ENOMEM.
 */
int port_plan_frontends(const struct plan_context *context, const struct service_object *spec,
			const struct service_port *service_port, const struct ip_addr *cluster_ip,
			struct planned_port *port);

/*
 * Plans the source ranges that its load-balancer IPs are limited to, each once, ascending, and sets
 * the flags for them; does neither if the IPs are open to all clients (rules I110 to I112). Returns
 * 0 or -ENOMEM.
 */
int port_plan_source_ranges(const struct plan_context *context, const struct service_object *spec,
			    struct planned_port *port);
