/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * A mark on packets that have been translated and leave the node: another hook may meet them, after
 * a redirect or on the link below a VLAN or a bond. It is in skb->tc_index, which nothing else uses
 * on the way out of the node.
 */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define TC_INDEX_TRANSLATED 0xf1ea

/* Marks a packet of a flow that now has a source for which this node answers. */
static __always_inline void packet_mark_translated(struct __sk_buff *skb)
{
	skb->tc_index = TC_INDEX_TRANSLATED;
}

static __always_inline bool packet_is_translated(const struct __sk_buff *skb)
{
	return skb->tc_index == TC_INDEX_TRANSLATED;
}
