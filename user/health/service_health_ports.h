/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Answers load balancers at the healthCheckNodePorts of Services (rules B41, L136 to L141). What is
 * planned is noted, and opened, moved and closed together, so that Services can hand ports to each
 * other. A port that cannot be had is told once, and tried again with every publish and every five
 * seconds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "fairlead/types.h"
#include "plan/health_check.h"

struct service_health_options {
	const char *node_name;
	/* True if the proxy is well, as /livez says. */
	bool (*is_alive)(void *context);
	/* A Service's port cannot be had; `note` is what an Event about it says. */
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
 * The addresses to listen at from the next apply on; copied. An unspecified address is all of its
 * family. NULL, as at first: all addresses, of both families in one listener. Returns 0 or -ENOMEM.
 */
int service_health_ports_set_addresses(struct service_health_ports *ports,
				       const struct ip_addr *addrs, size_t count);

/*
 * Notes what is planned for a Service. How many endpoints there are is told from now on, the port
 * waits for the next apply. NULL: the Service is gone. Returns 0 or -ENOMEM.
 */
int service_health_ports_note(struct service_health_ports *ports, const char *namespace_,
			      const char *name, const struct planned_health_check *check);

/* Closes and opens what is to be. Logs what fails. */
void service_health_ports_apply(struct service_health_ports *ports);
