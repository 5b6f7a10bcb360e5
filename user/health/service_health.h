/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Answers load balancers at the healthCheckNodePorts of Services (rules B41, L136 to L141). Planned
 * ports are noted first, then opened, moved and closed together, so that Services can hand ports to
 * each other. A port that cannot be opened is reported once, and retried with every publish and
 * every five seconds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "fairlead/types.h"
#include "http/response.h"
#include "plan/health_check.h"

/* The answer to one probe (rules L137 and L138: kube-proxy's body, headers and status). */
struct service_health {
	const char *namespace_, *name;
	size_t local_endpoints; /* ready ones on this node (rule L139) */
	bool is_proxy_healthy;  /* as /livez says */
};

/* Writes the response: 200 or 503, with kube-proxy's body and headers. */
void service_health_answer(const struct service_health *health, struct http_response *ret_response);

struct service_health_options {
	const char *node_name;
	/* True if the proxy is healthy, as in /livez. */
	bool (*is_alive)(void *context);
	/* A Service's port cannot be opened; `note` is the text for an Event. */
	void (*failed)(const char *namespace_, const char *name, const char *note, void *context);
	void *context; /* borrowed */
};

struct service_health_ports;

/* `options` is copied, its strings borrowed. NULL: memory is short. */
struct service_health_ports *service_health_ports_new(uv_loop_t *loop,
						      const struct service_health_options *options);

/* Closes all ports; the loop's next turn frees it. NULL is fine. */
void service_health_ports_close(struct service_health_ports *ports);

/*
 * Sets the addresses to listen on from the next apply; copied. An unspecified address means all
 * addresses of its family. NULL (the initial state) means all addresses of both families, with one
 * listener. Returns 0 or -ENOMEM.
 */
int service_health_ports_set_addresses(struct service_health_ports *ports,
				       const struct ip_addr *addrs, size_t count);

/*
 * Notes the plan for a Service. Its endpoint counts are served from now on, its port changes with
 * the next apply. NULL: the Service is gone. Returns 0 or -ENOMEM.
 */
int service_health_ports_plan(struct service_health_ports *ports, const char *namespace_,
			      const char *name, const struct planned_health_check *check);

/* Closes, moves and opens the noted ports. Logs failures. */
void service_health_ports_apply(struct service_health_ports *ports);
