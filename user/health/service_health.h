/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What a load balancer hears that asks a Service's healthCheckNodePort (rules L137 and L138). */

#include <stdbool.h>
#include <stddef.h>

#include "http/server.h"

struct service_health {
	const char *namespace_, *name;
	size_t local_endpoints; /* ready ones on this node (rule L139) */
	bool is_proxy_healthy;  /* as /livez says */
};

/* True if the node may be sent the Service's traffic. */
bool service_health_is_good(const struct service_health *health);

/* Says so: 200 or 503, with kube-proxy's body and headers. */
void service_health_answer(const struct service_health *health, struct http_response *ret_response);
