/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Per-socket state about dialled frontends, kept in socket-local storage. */

#include "maps.h"

/* What a connected socket dialled. Written by the socket hooks. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_state);
} socket_state SEC(".maps");

/* The frontends that an unconnected UDP socket talks to. Written by the socket hooks. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct datagram_state);
} datagram_state SEC(".maps");
