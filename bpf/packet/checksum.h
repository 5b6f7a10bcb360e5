/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* The Internet checksum (RFC 1071): one's complement sums, and the detection of unfinished ones. */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Folds a sum to 16 bits, not complemented. */
static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/*
 * True if the sender left the transport checksum to the hardware (CHECKSUM_PARTIAL), so that the
 * field holds only the sum of the pseudo header. The kernel does not expose this, but its helper
 * leaves such a field unchanged when data changes: so try, and restore the field.
 */
static __always_inline bool checksum_is_partial(struct __sk_buff *skb, __u32 field_offset)
{
	__u16 before = 0, after = 0;

	if (bpf_skb_load_bytes(skb, field_offset, &before, sizeof(before)) ||
	    bpf_l4_csum_replace(skb, field_offset, 0, 1, sizeof(__u16)) ||
	    bpf_skb_load_bytes(skb, field_offset, &after, sizeof(after)) ||
	    bpf_skb_store_bytes(skb, field_offset, &before, sizeof(before), 0))
		return false;
	return before == after;
}
