/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * One HTTP server that listens at many ports, which may come and go, and whose answers depend on
 * the port alone: any path and any method. A port costs a descriptor and no thread; all connections
 * share one set of limits.
 */

#include <uv.h>

#include "fairlead/types.h"
#include "http/server.h"

/* What was dialled. */
struct port_request {
	__u16 port; /* host order */
	enum ip_family family;
};

/* Answers a request, on the loop's thread. What it leaves alone is a 404. */
typedef void (*port_handler_fn)(const struct port_request *request, struct http_response *response,
				void *context);

struct port_server;

/* Listens nowhere yet; `context` is the handler's. NULL: memory is short. */
struct port_server *port_server_new(uv_loop_t *loop, port_handler_fn handler, void *context);

/*
 * Ends all connections, when all listeners are closed; the loop's next turn frees it. NULL is fine.
 */
void port_server_close(struct port_server *server);

struct port_listener;

/*
 * Listens at an address and port. The unspecified address (:: or 0.0.0.0) is all addresses of its
 * family; NULL is all addresses, of both families. The address may be one that comes later. Silent.
 * Returns 0 or a negative errno.
 */
int port_listener_open(struct port_server *server, const struct ip_addr *addr, __u16 port,
		       struct port_listener **ret_listener);

/* The port is free at once; connections go on. The loop's next turn frees it. NULL is fine. */
void port_listener_close(struct port_listener *listener);
