/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "packet/packet.h"

/* The addresses and ports that a packet is to have. */
struct rewrite {
	struct ip_addr src;
	struct ip_addr dst;
	__be16 src_port;
	__be16 dst_port;
};

static __always_inline void rewrite_from_flow(const struct flow *flow, struct rewrite *ret_rewrite)
{
	ret_rewrite->src = flow->new_src;
	ret_rewrite->dst = flow->new_dst;
	ret_rewrite->src_port = flow->new_src_port;
	ret_rewrite->dst_port = flow->new_dst_port;
}

/*
 * In both structs the two addresses are adjacent, as in headers, so that they can be summed and
 * written together.
 */
_Static_assert(offsetof(struct rewrite, dst) == sizeof(struct ip_addr),
	       "addresses first, together");
_Static_assert(offsetof(struct packet, dst) == sizeof(struct ip_addr), "addresses first, together");
#define ADDRESS_PAIR_SIZE (2 * sizeof(struct ip_addr))
