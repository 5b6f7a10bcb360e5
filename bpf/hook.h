/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* What a hook tells its steps about a packet. Shared by all hooks. */

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
