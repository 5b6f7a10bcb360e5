/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Packets of flows with source NAT: both ends are elsewhere, and the packet must not pass the local
 * stack, to which its new source, an address of this node, would be a martian. So what the stack
 * does for a packet that it forwards is done here: a route, one hop less, an answer where the hops
 * run out, the packet is too big for the way, or there is none.
 */

#include "send/forward.h"
#include "nat/nat.h"
#include "route/neighbour.h"
#include "packet/packet.h"
#include "send/reject.h"
#include "route/route.h"

/* Where in a packet's scratch space the answer to one that is too big finds what would fit. */
#define CB_MTU 0

/* What an ICMP error says of a packet that was given up for this reason. */
static __always_inline void answer_fill(struct icmp_answer *answer, bool is_ipv4,
					enum counter_reason reason)
{
	answer->type = is_ipv4 ? ICMP_DESTINATION_UNREACHABLE : ICMPV6_DESTINATION_UNREACHABLE;
	switch (reason) {
	case COUNTER_TIME_EXCEEDED:
		answer->type = is_ipv4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED;
		break;
	case COUNTER_TOO_BIG:
		answer->type = is_ipv4 ? ICMP_DESTINATION_UNREACHABLE : ICMPV6_PACKET_TOO_BIG;
		answer->code = is_ipv4 ? ICMP_FRAGMENTATION_NEEDED : 0;
		break;
	case COUNTER_PROHIBITED:
		answer->code = is_ipv4 ? ICMP_PROHIBITED : ICMPV6_PROHIBITED;
		break;
	case COUNTER_UNREACHABLE:
		answer->code = is_ipv4 ? ICMP_HOST_UNREACHABLE : ICMPV6_NO_ROUTE;
		break;
	case COUNTER_NO_NEIGHBOUR:
		answer->code = is_ipv4 ? ICMP_HOST_UNREACHABLE : ICMPV6_ADDRESS_UNREACHABLE;
		break;
	default:
		answer->code = is_ipv4 ? ICMP_NET_UNREACHABLE : ICMPV6_NO_ROUTE;
		break;
	}
}

/*
 * Tells the sender as the router that this node is to it, why its packet went no further: from the
 * node's address on the link that the packet came by. A node without one there speaks as the
 * address that was asked. IPv4 packets that may be fragmented are told the MTU as well, for nobody
 * here can cut them: a sender that hears of it sends smaller fragments from then on.
 */
static __noinline int transit_answer(struct __sk_buff *skb, const struct packet *packet,
				     const struct hook *hook, enum counter_reason reason)
{
	struct flow_draft *draft = flow_draft_get();
	struct icmp_answer *answer;

	if (!draft) {
		counter_add(reason, hook->size);
		return VERDICT_DROP;
	}
	answer = &draft->answer;
	*answer = (struct icmp_answer){};
	answer_fill(answer, packet->family == FAMILY_IPV4, reason);
	answer->quoted = quoted_transport(skb, packet);
	if (reason == COUNTER_TOO_BIG)
		answer->rest = bpf_htonl(skb->cb[CB_MTU]);
	/* To a process of this node, an address of its own would be a martian. */
	if (hook->is_egress || !link_source_of(hook->ifindex, packet->family, &answer->from))
		answer->from = packet->dst;
	return answer_error(skb, packet, hook, answer, reason);
}

/*
 * How many bytes the packet has for a link, from its network header on; one that is yet to be cut
 * into segments (GSO), as many as a segment will have.
 */
static __always_inline __u32 transit_size(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 header_size = sizeof(struct udphdr);
	__u8 data_offset = 0;

	if (!skb->gso_size)
		return skb->len - packet->l3_offset;
	if (packet->proto == IPPROTO_SCTP) /* each has a size of its own, which its sender chose */
		return 0;
	if (packet->proto == IPPROTO_TCP) {
		(void)packet_load(skb, packet->l4_offset + TCP_DATA_OFFSET, &data_offset,
				  sizeof(data_offset));
		header_size = (data_offset >> 4) * 4;
	}
	return packet->l4_offset - packet->l3_offset + header_size + skb->gso_size;
}

/*
 * Sees that a packet gets to the next hop of its route: that is there, as far as anybody knows, and
 * the packet is not too big, with the overhead that the route says.
 */
static __always_inline int route_check(struct __sk_buff *skb, const struct packet *packet,
				       struct route *route)
{
	/* An answer makes the kernel ask each time: there is nobody to tell, and it may arrive. */
	if (route->is_unresolved) {
		int err = route->is_answer ? 0 : neighbour_judge(&route->next);

		if (err)
			return err;
	} else if (neighbours_are_sought()) {
		(void)neighbour_search_end(&route->next);
	}
	if (!route->mtu)
		return 0;
	route->mtu -= route->overhead;
	if (transit_size(skb, packet) <= route->mtu)
		return 0;
	skb->cb[CB_MTU] = route->mtu;
	return -COUNTER_TOO_BIG;
}

/*
 * Finds the way and sees that the packet may take it, with what ret_route->overhead says. Returns 0
 * or -enum counter_reason.
 */
static __noinline int transit_route(struct __sk_buff *skb, const struct packet *packet,
				    const struct hook *hook, const struct rewrite *rewrite,
				    struct route *ret_route)
{
	int err;

	if (packet->ttl <= 1)
		return -COUNTER_TIME_EXCEEDED;
	err = route_find(skb, packet, hook, rewrite, ret_route);
	return err ? err : route_check(skb, packet, ret_route);
}

/* Sends a packet, rewritten by now, by the route that was found. */
static __noinline int transit_send(struct __sk_buff *skb, const struct packet *packet,
				   struct route *route, const struct hook *hook)
{
	int err;

	err = nat_decrement_ttl(skb, packet);
	if (!err)
		err = packet_drop_tags(skb);
	return err ? err : route_send(skb, route, hook);
}
