/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The packet on which `fairlead explain` runs the programs. It is never sent. */

#include <stdbool.h>

#include "fairlead/types.h"

#define TEST_FRAME_MAX 256

struct test_frame {
	__u32 size;
	__u8 bytes[TEST_FRAME_MAX];
};

/*
 * Builds a packet of the flow's original direction, with Ethernet (to `mac`), IP and transport
 * headers.
 */
struct test_frame test_frame_build(const struct flow_key *tuple, bool opens, const __u8 mac[6]);

/* Source and destination address of a frame; false: it is not an IP packet (any more). */
bool test_frame_addresses(const struct test_frame *frame, struct ip_addr *ret_src,
			  struct ip_addr *ret_dst);
