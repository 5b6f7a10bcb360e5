/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP sockets of the node that were connected to an address before a Service had it there: a moment
 * after frontends of UDP came, they are connected again (link/sockets/early_sockets.h).
 */

#include <uv.h>

#include "link/sockets/early_sockets.h"
#include "publish/publish.h"

struct socket_reconnect;

/* `loop` and `publisher` are borrowed, `options` is copied. Returns 0 or a negative errno. */
int socket_reconnect_new(uv_loop_t *loop, const struct early_sockets_options *options,
			 struct publisher *publisher, struct socket_reconnect **ret_reconnect);

/* The loop's next turn frees it. NULL is fine. */
void socket_reconnect_close(struct socket_reconnect *reconnect);

/* After a publish: looks for such sockets soon, if a frontend of UDP came. NULL is fine. Logs. */
void socket_reconnect_schedule(struct socket_reconnect *reconnect);
