/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Where a packet is met, and what the steps of a hook tell each other. All hooks share this. */

#include <linux/types.h>
#include <stdbool.h>

/* Where a packet was met; what "back" means depends on it. */
struct hook {
	bool is_egress; /* a packet of this node itself, met where it leaves */
	__u8 pad[3];
	__u32 link_header_size; /* ETH_HLEN, or 0 on links that have none */
	__u32 ifindex;          /* of the link */
	__u32 size;             /* of the packet, with its link-layer header: for counters */
};

/*
 * What the steps of a hook return: 0, the packet goes on; a positive verdict of the hook's own, it
 * is dealt with (and counted, if it died); or -enum counter_reason, it is to be dropped for that
 * reason.
 */
#define VERDICT_NEXT 0

/* As VERDICT_NEXT, for a packet that is translated by now: no other step may look at it again. */
#define VERDICT_DONE 256
