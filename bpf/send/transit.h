/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Packets of flows with source NAT. Both ends are on other hosts, and the packet must bypass the
 * local stack, which would drop it as a martian: its new source is an address of this node. So the
 * stack's forwarding work is done here: a route lookup, the TTL decrement, and an ICMP error if the
 * TTL expires, the packet is too big, or there is no route.
 */

#include "send/forward.h"
#include "nat/nat.h"
#include "route/neighbour.h"
#include "packet/packet.h"
#include "send/reject.h"
#include "route/route.h"

/* The index in skb->cb at which the MTU is passed to the answer to a packet that is too big. */
#define CB_MTU 0

/* Sets the type and code of the ICMP error for a packet given up for this reason. */
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
 * Tells the sender, as the router that this node is to it, why its packet was not forwarded. The
 * error comes from the node's address on the link that the packet arrived by, or, if there is none,
 * from the address that the packet was sent to. Senders of IPv4 packets without the don't-fragment
 * bit get the MTU as well, because nothing here can fragment: such a sender makes smaller fragments
 * from then on.
 */
static __noinline enum verdict transit_answer(struct __sk_buff *skb, const struct packet *packet,
					      const struct hook *hook, enum counter_reason reason)
{
	struct scratch *scratch = scratch_get();
	struct icmp_answer *answer;

	if (!scratch) {
		counter_add(reason, hook->size);
		return VERDICT_DROPPED;
	}
	answer = &scratch->answer;
	*answer = (struct icmp_answer){};
	answer_fill(answer, packet->family == FAMILY_IPV4, reason);
	answer->quoted = quoted_transport(skb, packet);
	if (reason == COUNTER_TOO_BIG)
		answer->rest = bpf_htonl(skb->cb[CB_MTU]);
	/* A process of this node would see an address of its own node as a martian. */
	if (hook->is_egress || !link_source_of(hook->ifindex, packet->family, &answer->from))
		answer->from = packet->dst;
	return answer_error(skb, packet, hook, answer, reason);
}

/*
 * The packet's size on a link, from its network header on; for a GSO packet, the size of one
 * segment.
 */
static __always_inline __u32 transit_size(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 header_size = sizeof(struct udphdr);
	__u8 data_offset = 0;

	if (!skb->gso_size)
		return skb->len - packet->l3_offset;
	if (packet->proto == IPPROTO_SCTP) /* each segment has its own size, chosen by the sender */
		return 0;
	if (packet->proto == IPPROTO_TCP) {
		(void)packet_load(skb, packet->l4_offset + TCP_DATA_OFFSET, &data_offset,
				  sizeof(data_offset));
		header_size = (data_offset >> 4) * 4;
	}
	return packet->l4_offset - packet->l3_offset + header_size + skb->gso_size;
}

/*
 * Checks that a packet can get to its route's next hop: the next hop is not known to be
 * unreachable, and the packet, with route->overhead, is not too big.
 */
static __always_inline int route_check(struct __sk_buff *skb, const struct packet *packet,
				       struct route *route)
{
	/*
	 * An answer triggers neighbour resolution each time: nobody would be told, and it may
	 * succeed.
	 */
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
 * Finds the route and checks that the packet, with ret_route->overhead, fits it. Returns 0 or -enum
 * counter_reason.
 */
static __noinline int transit_route(struct __sk_buff *skb, const struct packet *packet,
				    const struct hook *hook, const struct rewrite *rewrite,
				    struct route *ret_route)
{
	int err;

	if (packet->ttl <= 1)
		return -COUNTER_TIME_EXCEEDED;
	err = route_find(skb, packet, hook, rewrite, ret_route);
	if (err)
		return err;
	return route_check(skb, packet, ret_route);
}

/* Sends a rewritten packet by the route found before. */
static __noinline enum verdict transit_send(struct __sk_buff *skb, const struct packet *packet,
					    struct route *route, const struct hook *hook)
{
	int err;

	err = nat_decrement_ttl(skb, packet);
	if (err)
		return verdict_of(err);
	err = packet_drop_tags(skb);
	if (err)
		return verdict_of(err);
	return route_send(skb, route, hook);
}
