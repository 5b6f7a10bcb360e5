/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Unused addresses in the ranges that ClusterIPs are allocated from (rule C44). */

#include "packet/address.h"
#include "fairlead/atomic.h"
#include "maps.h"
#include "verdict.h"

/*
 * True if the address is in a range that ClusterIPs are allocated from (rule C44). Callers ask only
 * about destinations that no Service has.
 */
static __noinline bool is_in_service_ranges(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);
	const struct service_ranges *ranges;
	__u32 zero = 0, count;

	ranges = bpf_map_lookup_elem(&service_ranges, &zero);
	if (!ranges)
		return false;
	/* Pairs with ranges_store(). */
	count = READ_ONCE(ranges->count);
	for (__u32 i = 0; i < SERVICE_RANGES_MAX && i < count; i++) {
		const __u32 *wanted = address_words_const(&ranges->ranges[i].addr);
		const __u32 *mask = address_words_const(&ranges->ranges[i].mask);

		if (!((words[3] & mask[3]) ^ wanted[3]) && !((words[2] & mask[2]) ^ wanted[2]) &&
		    !((words[1] & mask[1]) ^ wanted[1]) && !((words[0] & mask[0]) ^ wanted[0]))
			return true;
	}
	return false;
}

/* The verdict on a packet to an address that no Service has. */
static __always_inline enum verdict service_cidr_verdict(const struct ip_addr *addr)
{
	return is_in_service_ranges(addr) ? verdict_give_up(COUNTER_DROP_UNUSED_ADDRESS)
					  : VERDICT_NEXT;
}
