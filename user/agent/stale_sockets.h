/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP backends that left: sockets connected to them must be told, for no hook sees what they send.
 * They are told a moment later, so that answers that are on their way still arrive, and a pass over
 * all sockets serves everything that left meanwhile.
 */

#include <stdint.h>
#include <uv.h>

#include "publish/publish.h"

struct stale_sockets;

/* `loop`, `socket_state_map` and `publisher` are borrowed. Returns 0 or a negative errno. */
int stale_sockets_new(uv_loop_t *loop, int socket_state_map, struct publisher *publisher,
		      struct stale_sockets **ret_stale);

/* Forgets what has left; the loop's next turn frees it. NULL is fine. */
void stale_sockets_close(struct stale_sockets *stale);

/* Takes what the publisher says has left. Logs. */
void stale_sockets_collect(struct stale_sockets *stale);

/* Aborts the sockets of all that has left and not come back, however short ago. Logs. NULL is fine.
 */
void stale_sockets_abort_all(struct stale_sockets *stale);

/* DEGRADED_NO_SOCKET_DESTROY once the kernel has said that it cannot. */
uint32_t stale_sockets_degraded(const struct stale_sockets *stale);
