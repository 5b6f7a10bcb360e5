/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Which incoming packets are ours to handle: only those that this node's stack would accept. A
 * switch that has not learnt a port yet floods frames to every node, but only one of them is meant.
 *
 * The kernel says whether a frame is addressed to the link that it arrived on. A port of a bridge
 * accepts others as well: frames to the bridge's own address are the node's, all others are for a
 * host behind the bridge, perhaps a pod. A tagged frame meets the hook of the VLAN's own link
 * later, without the tag; a node without such a link does not accept it. But a bridge may accept
 * tagged frames itself.
 */

#include <linux/if_packet.h>

#include "hook.h"
#include "packet/frame.h"
#include "packet/mac.h"
#include "maps.h"
#include "packet/martian.h"
#include "packet/packet.h"

#define VLAN_ID_MASK    0x0fff
#define IPV4_HEADER_MAX 60

/* True for a tag that names a VLAN, not just a priority. */
static __always_inline bool frame_is_tagged(struct __sk_buff *skb, const struct packet *packet,
					    const struct hook *hook)
{
	return packet->l3_offset != hook->link_header_size ||
	       (skb->vlan_present && skb->vlan_tci & VLAN_ID_MASK);
}

/*
 * True if the link is a bridge port and therefore accepts a frame that is tagged, or that the
 * kernel says is not for the link. Packets from a pod behind a bridge are always handled, whatever
 * their destination.
 */
static __noinline bool frame_is_for_port(struct __sk_buff *skb, struct packet *packet,
					 const struct hook *hook)
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link = bpf_map_lookup_elem(&links, &ifindex);
	__u8 destination[ETH_ALEN] __attribute__((aligned(2))) = {};

	if (!link || !link->bridge)
		return false;
	if (skb->pkt_type == PACKET_HOST)
		return true;
	if (skb->pkt_type != PACKET_OTHERHOST)
		return false;
	if (link->role == LINK_POD || mac_is_zero(link->mac))
		return true;
	(void)bpf_skb_load_bytes(skb, 0, destination, sizeof(destination));
	if (!mac_equal(destination, link->mac))
		packet->flags |= PACKET_FOR_BRIDGE;
	return true;
}

/* True if the checksum of an IPv4 header is wrong, whatever options it has. */
static __noinline bool header_is_broken(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 offset = packet->l3_offset, word;
	__u64 sum = 0;

	for (int i = 0; i < IPV4_HEADER_MAX / 4 && offset < packet->l4_offset; i++) {
		if (packet_load(skb, offset, &word, sizeof(word)))
			break;
		sum += word;
		offset += sizeof(word);
	}
	return checksum_fold(sum) != 0xffff;
}

/* True if any stack would drop the packet, whichever link it arrived on. */
static __always_inline bool packet_is_unsound(struct __sk_buff *skb, const struct packet *packet)
{
	return packet_is_martian(packet) ||
	       (packet->flags & PACKET_SUM_IS_OFF && header_is_broken(skb, packet));
}

static __always_inline bool packet_is_accepted(struct __sk_buff *skb, struct packet *packet,
					       const struct hook *hook)
{
	if (packet_is_unsound(skb, packet))
		return false;
	/* Without a link-layer header the packet can be for nobody else. */
	if (!hook->link_header_size ||
	    (skb->pkt_type == PACKET_HOST && !frame_is_tagged(skb, packet, hook)))
		return true;
	return frame_is_for_port(skb, packet, hook);
}

/*
 * True if a frame is addressed to the link that it arrived by, or to the bridge of which the link
 * is a port.
 */
static __always_inline bool frame_is_for_link(const struct frame *frame, const struct hook *hook)
{
	__u32 place = hook->ifindex % XDP_LINKS_MAX;
	const struct xdp_link *link = bpf_map_lookup_elem(&xdp_links, &place);
	const struct ethhdr *header = frame->data;

	if ((void *)(header + 1) > frame->end || !link || link->ifindex != hook->ifindex)
		return false;
	return mac_equal(header->h_dest, link->mac) || mac_equal(header->h_dest, link->bridge_mac);
}

/* True if the stack would accept the packet; all others are passed up to it. */
static __always_inline bool frame_is_accepted(const struct frame *frame,
					      const struct packet *packet, const struct hook *hook)
{
	return frame_is_for_link(frame, hook) && !packet_is_martian(packet) &&
	       !(packet->flags & PACKET_SUM_IS_OFF);
}
