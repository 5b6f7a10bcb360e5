/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP backends that left: sockets connected to them must be aborted, because no hook sees what they
 * send. That is delayed a moment, so that answers in flight still arrive and one walk over all
 * sockets serves every backend that left meanwhile.
 */

#include <stdint.h>
#include <uv.h>

#include "publish/publisher.h"

struct stale_sockets;

/* `loop`, `socket_state_map` and `publisher` are borrowed. Returns 0 or a negative errno. */
int stale_sockets_new(uv_loop_t *loop, int socket_state_map, struct publisher *publisher,
		      struct stale_sockets **ret_stale);

/* Forgets the departed backends; the loop's next iteration frees it. NULL is fine. */
void stale_sockets_close(struct stale_sockets *stale);

/* Collects the departed backends from the publisher. Logs. */
void stale_sockets_collect(struct stale_sockets *stale);

/*
 * Aborts the sockets of all backends that left and have not come back, without the delay. Logs.
 * NULL is fine.
 */
void stale_sockets_abort_all(struct stale_sockets *stale);

/* DEGRADED_NO_SOCKET_DESTROY once the kernel has reported that it cannot abort sockets. */
uint32_t stale_sockets_degraded(const struct stale_sockets *stale);
