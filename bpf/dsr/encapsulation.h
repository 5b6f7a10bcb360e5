/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Encapsulation (RFC 2003; RFC 2473), by which a client's packet reaches its backend's node
 * unchanged. The outer header is addressed from this node to the backend's own address, so the
 * network can route it. It carries the backend's port in a field that is otherwise unused: the id
 * of an IPv4 packet that may not be fragmented (RFC 6864, 4.1), or the flow label of an IPv6
 * packet. A packet that asks whether its flow is confirmed (dsr/confirmation.h) is marked in the
 * outer header, too: an IPv4 packet lacks the don't-fragment bit, though at its size it is never
 * fragmented; an IPv6 packet has a bit of the flow label above the port set. When the kernel
 * segments a GSO packet it increments the ids: see port_is_meant.
 */

#include "packet/checksum.h"
#include "flow/flow.h"
#include "send/forward.h"
#include "nat/nat.h"
#include "packet/extension.h"
#include "packet/packet.h"
#include "packet/accepted.h"
#include "send/transit.h"

#define ENCAPSULATION_TTL  64
#define IPV4_DONT_FRAGMENT bpf_htons(0x4000)
/* In the first bytes of the fragment offset field and of the flow label. */
#define DONT_FRAGMENT_BIT 0x40
#define FLOW_LABEL_ASKS   0x01
/* Larger packets do not ask: every path carries packets of this size unfragmented. */
#define ASKS_SIZE_MAX 512
/* The DSCP bits of an IPv4 TOS or IPv6 traffic class: ECN stays inside (RFC 6040, 4.3). */
#define DSCP_MASK 0xfc

/* The outer header has no options and is of the inner packet's family. */
static __always_inline __u32 encapsulation_size(__u8 family)
{
	return family == FAMILY_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline bool packet_is_encapsulated(const struct packet *packet)
{
	return packet->proto == (packet->family == FAMILY_IPV4 ? IPPROTO_IPIP : IPPROTO_IPV6);
}

/* A size that the field cannot hold is written as 0: for GSO the kernel takes it from elsewhere. */
static __always_inline __be16 header_length(__u32 size)
{
	return size > 0xffff ? 0 : bpf_htons(size);
}

static __always_inline int encapsulation_write_ipv4(struct __sk_buff *skb, __u32 offset,
						    struct scratch *scratch, __u32 size, __u8 dscp)
{
	struct iphdr *header = &scratch->outer.ipv4;

	header->version = 4;
	header->ihl = sizeof(*header) / 4;
	header->tos = dscp;
	header->tot_len = header_length(sizeof(*header) + size);
	header->id = scratch->rewrite.dst_port;
	header->frag_off = scratch->dsr.asks ? 0 : IPV4_DONT_FRAGMENT;
	header->ttl = ENCAPSULATION_TTL;
	header->protocol = IPPROTO_IPIP;
	header->check = 0;
	header->saddr = address_ipv4(&scratch->rewrite.src);
	header->daddr = address_ipv4(&scratch->rewrite.dst);
	header->check =
		~checksum_fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)header, sizeof(*header), 0));
	return bpf_skb_store_bytes(skb, offset, header, sizeof(*header), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int encapsulation_write_ipv6(struct __sk_buff *skb, __u32 offset,
						    struct scratch *scratch, __u32 size, __u8 dscp)
{
	struct ipv6hdr *header = &scratch->outer.ipv6;

	header->version = 6;
	header->priority = dscp >> 4;
	header->flow_lbl[0] = dscp << 4 | (scratch->dsr.asks ? FLOW_LABEL_ASKS : 0);
	__builtin_memcpy(&header->flow_lbl[1], &scratch->rewrite.dst_port, sizeof(__be16));
	header->payload_len = header_length(size);
	header->nexthdr = IPPROTO_IPV6;
	header->hop_limit = ENCAPSULATION_TTL;
	__builtin_memcpy(&header->saddr, scratch->rewrite.src.bytes, sizeof(header->saddr));
	__builtin_memcpy(&header->daddr, scratch->rewrite.dst.bytes, sizeof(header->daddr));
	return bpf_skb_store_bytes(skb, offset, header, sizeof(*header), BPF_F_RECOMPUTE_CSUM);
}

/* The packet's DSCP, at its place in the TOS or traffic class. */
static __always_inline __u8 packet_dscp(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 head[2] = {};

	(void)packet_load(skb, packet->l3_offset, head, sizeof(head));
	return (packet->family == FAMILY_IPV4 ? head[1] : (__u8)(head[0] << 4 | head[1] >> 4)) &
	       DSCP_MASK;
}

/* The size of a packet from its network header on. */
static __always_inline __u32 packet_network_size(struct __sk_buff *skb, const struct packet *packet)
{
	return packet_transport_size(skb, packet) + packet->l4_offset - packet->l3_offset;
}

/*
 * Writes the outer header into the room made for it, for an inner packet of this size, with the
 * addresses and the destination port of scratch->rewrite.
 */
static __always_inline int outer_write(struct __sk_buff *skb, __u8 family, const struct hook *hook,
				       struct scratch *scratch, __u32 size, __u8 dscp)
{
	return family == FAMILY_IPV4
		       ? encapsulation_write_ipv4(skb, hook->link_header_size, scratch, size, dscp)
		       : encapsulation_write_ipv6(skb, hook->link_header_size, scratch, size, dscp);
}

/*
 * Inserts the outer header before a packet: see outer_write(). Segment sizes stay as they are: the
 * caller has checked that the encapsulated segments fit.
 */
static __noinline int encapsulation_write(struct __sk_buff *skb, const struct packet *packet,
					  const struct hook *hook, struct scratch *scratch)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO |
		      (packet->family == FAMILY_IPV4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
						     : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
	__u32 size = packet_network_size(skb, packet);
	__u8 dscp = packet_dscp(skb, packet);
	int err;

	err = packet_drop_tags(skb);
	if (err)
		return err;
	if (bpf_skb_adjust_room(skb, (__s32)encapsulation_size(packet->family), BPF_ADJ_ROOM_MAC,
				flags))
		return -COUNTER_DROP_REWRITE;
	return outer_write(skb, packet->family, hook, scratch, size, dscp) ? -COUNTER_DROP_REWRITE
									   : 0;
}

/*
 * Encapsulates a client's packet, or an ICMP error about a reply to the client, and sends it to the
 * flow's backend.
 */
static __noinline enum verdict encapsulate(struct __sk_buff *skb, const struct packet *packet,
					   const struct flow *flow, const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	int err;

	if (!scratch || !node_address_of(packet->family, &scratch->rewrite.src))
		return verdict_give_up(COUNTER_DROP_NO_ROUTE);
	scratch->rewrite.dst = flow->new_dst;
	scratch->rewrite.src_port = 0;
	scratch->rewrite.dst_port = 0;
	scratch->route.overhead = encapsulation_size(packet->family);
	scratch->route.is_answer = false;
	err = transit_route(skb, packet, hook, &scratch->rewrite, &scratch->route);
	if (err)
		return verdict_of(err);
	err = nat_decrement_ttl(skb, packet);
	if (err)
		return verdict_of(err);
	scratch->rewrite.dst_port = flow->new_dst_port;
	scratch->dsr.asks = flow->state == FLOW_REPLIED && hook->size <= ASKS_SIZE_MAX &&
			    packet->fragment == FRAGMENT_NONE && proto_has_ports(packet->proto);
	err = encapsulation_write(skb, packet, hook, scratch);
	if (err)
		return verdict_of(err);
	return route_send(skb, &scratch->route, hook);
}

/* The backend's port as the outer header gives it. */
static __always_inline __be16 encapsulated_port(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 offset = packet->l3_offset + (packet->family == FAMILY_IPV4
						    ? offsetof(struct iphdr, id)
						    : offsetof(struct ipv6hdr, flow_lbl) + 1);
	__be16 port = 0;

	(void)packet_load(skb, offset, &port, sizeof(port));
	return port;
}

/* True if the node that encapsulated the packet asks whether its flow is confirmed. */
static __always_inline bool encapsulated_asks(struct __sk_buff *skb, const struct packet *packet)
{
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	__u8 mark = 0;

	(void)packet_load(skb,
			  packet->l3_offset + (is_ipv4 ? offsetof(struct iphdr, frag_off)
						       : offsetof(struct ipv6hdr, flow_lbl)),
			  &mark, sizeof(mark));
	return is_ipv4 ? !(mark & DONT_FRAGMENT_BIT) : mark & FLOW_LABEL_ASKS;
}

/*
 * The largest number of segments cut from one GSO packet, and so the largest distance of their ids.
 */
#define SEGMENTS_MAX 128

/*
 * True if an encapsulated packet with the port `named` may belong to a flow to `port`: the two are
 * equal, or the kernel incremented the number once for each segment.
 */
static __always_inline bool port_is_meant(__be16 named, __be16 port)
{
	return (__u16)(bpf_ntohs(named) - bpf_ntohs(port)) < SEGMENTS_MAX;
}

/* Reads the inner headers, which must be complete and of a packet that can belong to a flow. */
static __always_inline int encapsulated_read(struct __sk_buff *skb, const struct packet *packet,
					     struct packet *ret_inner)
{
	__builtin_memset(ret_inner, 0, sizeof(*ret_inner));
	if (packet->family == FAMILY_IPV4 ? !packet_read_ipv4(skb, packet->l4_offset, ret_inner)
					  : !packet_read_ipv6(skb, packet->l4_offset, ret_inner) ||
						    !packet_skip_extensions(skb, ret_inner))
		return -COUNTER_DROP_MALFORMED;
	if (packet_is_unsound(skb, ret_inner) ||
	    (ret_inner->fragment != FRAGMENT_LATER && !packet_read_transport(skb, ret_inner)))
		return -COUNTER_DROP_MALFORMED;
	if (packet_is_icmp(ret_inner))
		return ret_inner->fragment != FRAGMENT_LATER &&
				       icmp_type_is_error(ret_inner->family, ret_inner->icmp_type)
			       ? 0
			       : -COUNTER_DROP_MALFORMED;
	return proto_has_ports(ret_inner->proto) ? 0 : -COUNTER_DROP_MALFORMED;
}
