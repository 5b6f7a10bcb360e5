/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Where a service port answers, and who may use its load-balancer IPs: groups B and I. */

#include "plan/plan.h"

/*
 * The frontends of a service port in one family, each address once, ascending. `cluster_ip` may be
 * NULL: it is left alone. Sets SERVICE_EXTERNAL where there may be clients from outside (rule B30).
 * Returns 0 or -ENOMEM.
 */
int port_plan_frontends(const struct plan_context *context, const struct service_object *spec,
			const struct service_port *service_port, const struct ip_addr *cluster_ip,
			struct planned_port *port);

/*
 * The ranges that its load-balancer IPs are limited to, each once, ascending, and the flags that
 * say so; nothing where they are open to everybody (rules I110 to I112). Returns 0 or -ENOMEM.
 */
int port_plan_source_ranges(const struct plan_context *context, const struct service_object *spec,
			    struct planned_port *port);
