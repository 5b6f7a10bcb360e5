/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "fairlead/types.h"

/* What was chosen for a client, and from what. */
struct choice {
	__u32 service;
	__u32 slot;
	__u32 backend;
	__u32 generation;
	__u32 flags; /* enum backend_flag */
	struct ip_addr addr;
	__be16 port;
	__u8 is_remembered; /* the client had it before: affinity */
	__u8 pad;
	struct slot_range list; /* that applied to the client; known even where it is empty */
};
_Static_assert(sizeof(struct choice) == 48, "map value: every byte is named");

/* Where a client is. */
struct client_place {
	__u8 is_near;      /* to the traffic policies */
	__u8 returns_here; /* replies to its own address pass this node */
	__u8 pad[2];
};

/*
 * How the datapath decided about a packet that opens a flow: the beginning of the value of
 * `flow_drafts`. Programs keep it for themselves while they work; `fairlead explain` looks into
 * that of a second instance, which nobody else uses.
 */
struct decision {
	struct frontend_target target;
	struct client_place place;
	__u32 pad;
	struct choice choice;
};
_Static_assert(sizeof(struct decision) == 64, "map value: every byte is named");
