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

struct left_sockets;

/* `loop`, `socket_state_map` and `publisher` are borrowed. Returns 0 or a negative errno. */
int left_new(uv_loop_t *loop, int socket_state_map, struct publisher *publisher,
	     struct left_sockets **ret_left);

/* Forgets what has left; the loop's next turn frees it. NULL is fine. */
void left_close(struct left_sockets *left);

/* Takes what the publisher says has left. Logs. */
void left_note(struct left_sockets *left);

/* Aborts the sockets of all that has left and not come back, however short ago. Logs. NULL is fine.
 */
void left_tell_all(struct left_sockets *left);

/* DEGRADED_NO_SOCKET_DESTROY once the kernel has said that it cannot. */
uint32_t left_degraded(const struct left_sockets *left);
