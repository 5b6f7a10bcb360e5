/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP sockets of the node that were connected to an address before a Service had it as a frontend:
 * they are reconnected shortly after UDP frontends were added (link/sockets/early_sockets.h).
 */

#include <uv.h>

#include "link/sockets/early_sockets.h"
#include "publish/publisher.h"

struct socket_reconnect;

/* `loop` and `publisher` are borrowed, `options` is copied. Returns 0 or a negative errno. */
int socket_reconnect_new(uv_loop_t *loop, const struct early_sockets_options *options,
			 struct publisher *publisher, struct socket_reconnect **ret_reconnect);

/* The loop's next iteration frees it. NULL is fine. */
void socket_reconnect_close(struct socket_reconnect *reconnect);

/*
 * Called after a publish: if UDP frontends were added, schedules a walk over the sockets. NULL is
 * fine. Logs.
 */
void socket_reconnect_schedule(struct socket_reconnect *reconnect);
