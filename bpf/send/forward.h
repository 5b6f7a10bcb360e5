/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Where a hook sends a packet: on to the next program of the hook, back where it came from, or past
 * the stack.
 */

#include <linux/if_packet.h>

#include "hook.h"
#include "verdict.h"
#include "packet/mac.h"
#include "maps.h"
#include "nat/nat.h"
#include "packet/packet.h"
#include "route/route.h"

_Static_assert((int)VERDICT_SENT == TC_ACT_REDIRECT && (int)VERDICT_DROPPED == TC_ACT_SHOT,
	       "results of bpf_redirect()");

/*
 * The verdict of bpf_redirect() and its like, which return TC_ACT_REDIRECT, or TC_ACT_SHOT. The
 * verdicts have the same numbers, so that the result is passed on as it is: it is unknown to the
 * verifier, which would follow each known one through all that comes after it.
 */
static __always_inline enum verdict redirect_verdict(int action)
{
	return (enum verdict)action;
}

/*
 * Sets `mac` to the source address of an answer. On entry it holds the destination of the frame
 * that is answered. If the kernel says that this is the link's own address, it stays; otherwise it
 * becomes the bridge's, because our answer must not make a bridge learn another host's address
 * here.
 */
static __always_inline void packet_own_mac(struct __sk_buff *skb, const struct hook *hook,
					   __u8 mac[ETH_ALEN])
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link;

	if (hook->is_egress || skb->pkt_type == PACKET_HOST)
		return;
	link = bpf_map_lookup_elem(&links, &ifindex);
	if (link && !mac_is_zero(link->mac))
		__builtin_memcpy(mac, link->mac, ETH_ALEN);
}

static __always_inline int packet_swap_macs(struct __sk_buff *skb, const struct hook *hook)
{
	struct ethhdr header;
	__u8 mac[ETH_ALEN];

	if (!hook->link_header_size)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)))
		return -COUNTER_DROP_REWRITE;
	__builtin_memcpy(mac, header.h_dest, sizeof(mac));
	packet_own_mac(skb, hook, mac);
	__builtin_memcpy(header.h_dest, header.h_source, sizeof(header.h_dest));
	__builtin_memcpy(header.h_source, mac, sizeof(header.h_source));
	if (bpf_skb_store_bytes(skb, 0, &header, 2 * ETH_ALEN, 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/*
 * Sends the packet back where it came from: out of the link it arrived by, or, for a packet of this
 * node, into the node as if it had arrived by the link that it was about to leave by. There the
 * reverse path filter finds the route it expects.
 */
static __always_inline enum verdict forward_back(struct __sk_buff *skb, const struct hook *hook)
{
	if (packet_swap_macs(skb, hook))
		return verdict_give_up(COUNTER_DROP_REWRITE);
	return redirect_verdict(bpf_redirect(hook->ifindex, hook->is_egress ? BPF_F_INGRESS : 0));
}

/* Helpers that send to an Ethernet link require a header, whatever its contents. */
static __always_inline int packet_add_link_header(struct __sk_buff *skb)
{
	struct ethhdr header = {.h_proto = (__be16)skb->protocol};

	if (bpf_skb_change_head(skb, sizeof(header), 0) ||
	    bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/* Removes VLAN tags, which belong to the link that the packet came by. */
static __always_inline int packet_drop_tags(struct __sk_buff *skb)
{
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		__be16 protocol = (__be16)skb->protocol;

		if (!skb->vlan_present && protocol != bpf_htons(ETH_P_8021Q) &&
		    protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_skb_vlan_pop(skb))
			return -COUNTER_DROP_REWRITE;
	}
	return 0;
}

/* Sends the packet by a route. */
static __always_inline enum verdict route_send(struct __sk_buff *skb, struct route *route,
					       const struct hook *hook)
{
	if (!hook->link_header_size && packet_add_link_header(skb))
		return verdict_give_up(COUNTER_DROP_REWRITE);
	return redirect_verdict(bpf_redirect_neigh(route->next.ifindex, &route->next.next_hop,
						   sizeof(route->next.next_hop), 0));
}

/*
 * Delivers a reply to a process of this node as if it had arrived by the link that the process's
 * own packets leave by, because there the reverse path filter expects the frontend. A VLAN tag
 * belongs to the link where the reply was seen, and would lead to a VLAN that the other link does
 * not have.
 */
static __always_inline enum verdict
forward_to_local_client(struct __sk_buff *skb, const struct flow *flow, const struct hook *hook)
{
	int err = packet_drop_tags(skb);

	if (err)
		return verdict_of(err);
	if (flow->ifindex == hook->ifindex && !hook->is_egress)
		return VERDICT_DONE;
	/* The flow has no MAC if the link of the process's packets has no link-layer header. */
	if (hook->link_header_size || !mac_is_zero(flow->mac)) {
		if (!hook->link_header_size && packet_add_link_header(skb))
			return verdict_give_up(COUNTER_DROP_REWRITE);
		if (bpf_skb_store_bytes(skb, 0, flow->mac, sizeof(flow->mac), 0))
			return verdict_give_up(COUNTER_DROP_REWRITE);
	}
	return redirect_verdict(bpf_redirect(flow->ifindex, BPF_F_INGRESS));
}
