/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The response to a load balancer that probes a Service's healthCheckNodePort (rules L137 and L138:
 * kube-proxy's body, headers and status).
 */

#include <stdbool.h>
#include <stddef.h>

#include "http/server.h"

struct service_health {
	const char *namespace_, *name;
	size_t local_endpoints; /* ready ones on this node (rule L139) */
	bool is_proxy_healthy;  /* as /livez says */
};

/* True if load balancers may send the Service's traffic to this node. */
bool service_health_is_good(const struct service_health *health);

/* Writes the response: 200 or 503, with kube-proxy's body and headers. */
void service_health_answer(const struct service_health *health, struct http_response *ret_response);
