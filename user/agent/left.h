/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* UDP backends that left: sockets connected to them must be told, for no hook sees what they send. */

#include <stdint.h>

#include "publish/publish.h"

struct left_sockets;

/* `socket_state_map`: borrowed. Returns 0 or -ENOMEM. */
int left_new(int socket_state_map, struct left_sockets **ret_left);
void left_free(struct left_sockets *left);

/* Takes what the publisher says has left, and aborts the sockets connected to it. Logs. */
void left_tell(struct left_sockets *left, struct publisher *publisher);

/* DEGRADED_NO_SOCKET_DESTROY once the kernel has said that it cannot. */
uint32_t left_degraded(const struct left_sockets *left);
