/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* What a hook tells its steps about a packet, and what they return. Shared by all hooks. */

#include <linux/types.h>
#include <stdbool.h>

/* The hook and link at which a packet is handled; the meaning of "back" depends on it. */
struct hook {
	bool is_egress; /* the packet leaves by the link */
	__u8 pad[3];
	__u32 link_header_size; /* ETH_HLEN, or 0 on links that have none */
	__u32 ifindex;          /* of the link */
	__u32 size;             /* of the packet with its link-layer header, for counters */
};

/*
 * The return values of a hook's steps: 0, the packet continues; a positive verdict of the hook's
 * own, the packet has been handled (and counted, if it was dropped); or -enum counter_reason, the
 * caller must drop the packet for that reason.
 */
#define VERDICT_NEXT 0

/* Like VERDICT_NEXT, for a packet that has been translated: no other step may handle it again. */
#define VERDICT_DONE 256

/* A step leaves the decision to a later one. */
#define VERDICT_ASK_VIP (-COUNTER_COUNT)
/* The packet must be encapsulated and sent to the backend of draft->original. */
#define VERDICT_ENCAPSULATE 257
/* The packet is an ICMP error about the flow in draft->original. */
#define VERDICT_TRANSLATE_ERROR 258
