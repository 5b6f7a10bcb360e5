/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The packet that `fairlead explain` lets the programs look at. It is never sent. */

#include <stdbool.h>

#include "fairlead/types.h"

#define TEST_FRAME_MAX 256

struct test_frame {
	__u32 size;
	__u8 bytes[TEST_FRAME_MAX];
};

/*
 * Ethernet, IP and transport headers of a packet of a flow's original direction; the frame is to
 * `mac`.
 */
struct test_frame test_frame_build(const struct flow_key *tuple, bool opens, const __u8 mac[6]);

/* Source and destination of a frame; false where it is no IP packet (any more). */
bool test_frame_addresses(const struct test_frame *frame, struct ip_addr *ret_src,
			  struct ip_addr *ret_dst);
