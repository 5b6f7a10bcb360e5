/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "fairlead/types.h"

/* The backend chosen for a client, and the list it was chosen from. */
struct choice {
	__u32 service;
	__u32 slot;
	__u32 backend;
	__u32 generation;
	__u32 flags; /* enum backend_flag */
	struct ip_addr addr;
	__be16 port;
	__u8 is_remembered; /* affinity: the client had this backend before */
	__u8 pad;
	struct slot_range list; /* the list that applied to the client; set even if it is empty */
};
_Static_assert(sizeof(struct choice) == 48, "map value: every byte is named");

/* Where a client is, seen from this node. */
struct client_place {
	__u8 is_near;      /* near, as the traffic policies mean it */
	__u8 returns_here; /* replies to the client's own address pass this node */
	__u8 pad[2];
};

/*
 * The datapath's decision about a packet that opens a flow; the start of the value of
 * `flow_drafts`. That map is scratch memory of the programs. `fairlead explain` runs a second
 * instance of them and reads its map, which nothing else uses.
 */
struct decision {
	struct frontend_target target;
	struct client_place place;
	__u32 pad;
	struct choice choice;
};
_Static_assert(sizeof(struct decision) == 64, "map value: every byte is named");
