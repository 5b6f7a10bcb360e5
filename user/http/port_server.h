/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * One HTTP server that listens on many ports, which may come and go. Its responses depend on the
 * port alone, for any path and any method. A port costs a descriptor and no thread; all connections
 * share one set of limits.
 */

#include <uv.h>

#include "fairlead/types.h"
#include "http/response.h"

/* The port and family that the client dialled. */
struct port_request {
	__u16 port; /* host order */
	enum ip_family family;
};

/* Answers a request, on the loop's thread. A response left untouched becomes a 404. */
typedef void (*port_handler_fn)(const struct port_request *request, struct http_response *response,
				void *context);

struct port_server;

/* Creates a server without listeners; `context` is passed to the handler. NULL: memory is short. */
struct port_server *port_server_new(uv_loop_t *loop, port_handler_fn handler, void *context);

/*
 * Closes all connections and the server; the caller has closed all listeners. The loop's next turn
 * frees it. NULL is fine.
 */
void port_server_close(struct port_server *server);

struct port_listener;

/*
 * Listens on an address and port. The unspecified address (:: or 0.0.0.0) means all addresses of
 * its family; NULL means all addresses of both families. The address need not exist yet. Silent.
 * Returns 0 or a negative errno.
 */
int port_listener_open(struct port_server *server, const struct ip_addr *addr, __u16 port,
		       struct port_listener **ret_listener);

/*
 * Frees the port at once; open connections continue. The loop's next turn frees the listener. NULL
 * is fine.
 */
void port_listener_close(struct port_listener *listener);
