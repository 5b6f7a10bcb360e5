/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Ways on from a hook: to whoever comes next on it, back where the packet came from, or round the
 * stack.
 */

#include "nat.h"
#include "packet.h"

/* Where a packet was met; what "back" means depends on it. */
struct hook {
	bool is_egress;         /* a packet of this node itself, met where it leaves */
	__u32 link_header_size; /* ETH_HLEN, or 0 on links that have none */
};

/*
 * What the steps of a hook return: 0, the packet goes on; a positive TC_ACT_*, it is dealt with
 * (and counted, if it died); or -enum counter_reason, it is to be dropped for that reason.
 */
#define VERDICT_NEXT 0
#define VERDICT_DROP TC_ACT_SHOT

static __always_inline int packet_swap_macs(struct __sk_buff *skb, const struct hook *hook)
{
	struct ethhdr header;
	__u8 mac[ETH_ALEN];

	if (!hook->link_header_size)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)))
		return -COUNTER_DROP_REWRITE;
	__builtin_memcpy(mac, header.h_dest, sizeof(mac));
	__builtin_memcpy(header.h_dest, header.h_source, sizeof(header.h_dest));
	__builtin_memcpy(header.h_source, mac, sizeof(header.h_source));
	if (bpf_skb_store_bytes(skb, 0, &header, 2 * ETH_ALEN, 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/*
 * Sends the packet back to where it came from: out of the link it arrived by, or, for a packet of
 * this node, into the node as if it had arrived by the link it was about to leave by. There the
 * reverse path filter finds the route it expects. Returns a verdict or -COUNTER_DROP_REWRITE.
 */
static __always_inline int forward_back(struct __sk_buff *skb, const struct hook *hook)
{
	if (packet_swap_macs(skb, hook))
		return -COUNTER_DROP_REWRITE;
	return bpf_redirect(skb->ifindex, hook->is_egress ? BPF_F_INGRESS : 0);
}

/* Helpers that send to an Ethernet link want a header there, whatever is in it. */
static __always_inline int packet_add_link_header(struct __sk_buff *skb)
{
	struct ethhdr header = {.h_proto = (__be16)skb->protocol};

	if (bpf_skb_change_head(skb, sizeof(header), 0) ||
	    bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/* A way out of this node. */
struct route {
	__u32 ifindex;
	__u32 mtu; /* of what the way takes, learned from routers too */
	struct bpf_redir_neigh next_hop;
};

/*
 * Asks the kernel for the way of a packet as it will be. Neighbours that are not known yet are no
 * obstacle: the kernel asks for them when the packet is sent. Returns 0 or -COUNTER_DROP_NO_ROUTE.
 */
static __noinline int route_find(struct __sk_buff *skb, const struct packet *packet,
				 const struct rewrite *rewrite, struct route *ret_route)
{
	struct bpf_fib_lookup fib = {
		.ifindex = skb->ifindex,
		.l4_protocol = packet->proto,
		/* A length that always fits: so the kernel says what would. */
		.tot_len = 1,
	};
	long found;

	ret_route->mtu = 0;
	if (packet->fragment == FRAGMENT_NONE) {
		fib.sport = rewrite->src_port;
		fib.dport = rewrite->dst_port;
	}
	if (packet->family == FAMILY_IPV4) {
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = address_ipv4(&rewrite->src);
		fib.ipv4_dst = address_ipv4(&rewrite->dst);
	} else {
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, rewrite->src.bytes, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, rewrite->dst.bytes, sizeof(fib.ipv6_dst));
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (found == BPF_FIB_LKUP_RET_SUCCESS)
		ret_route->mtu = fib.mtu_result;
	else if (found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return -COUNTER_DROP_NO_ROUTE;
	else /* it does not get as far as saying the route's */
		(void)bpf_check_mtu(skb, fib.ifindex, &ret_route->mtu, 0, 0);
	ret_route->ifindex = fib.ifindex;
	__builtin_memset(&ret_route->next_hop, 0, sizeof(ret_route->next_hop));
	ret_route->next_hop.nh_family = fib.family;
	__builtin_memcpy(ret_route->next_hop.ipv6_nh, fib.ipv6_dst,
			 sizeof(ret_route->next_hop.ipv6_nh));
	return 0;
}

/* Sends the packet by a route. Returns a verdict or -COUNTER_DROP_REWRITE. */
static __always_inline int route_send(struct __sk_buff *skb, struct route *route,
				      const struct hook *hook)
{
	if (!hook->link_header_size && packet_add_link_header(skb))
		return -COUNTER_DROP_REWRITE;
	return bpf_redirect_neigh(route->ifindex, &route->next_hop, sizeof(route->next_hop), 0);
}

/* Routes a packet of this node anew, for its destination is another one now. Returns a verdict or
 * -COUNTER_DROP_...
 */
static __always_inline int forward_route(struct __sk_buff *skb, const struct packet *packet,
					 const struct rewrite *rewrite, const struct hook *hook)
{
	struct route route;
	int err;

	err = route_find(skb, packet, rewrite, &route);
	if (err)
		return err;
	if (!hook->link_header_size && route.ifindex == skb->ifindex)
		return VERDICT_NEXT;
	return route_send(skb, &route, hook);
}

/* False where the link that the client's packets leave by has no link-layer header. */
static __always_inline bool flow_has_mac(const struct flow *flow)
{
	return flow->mac[0] | flow->mac[1] | flow->mac[2] | flow->mac[3] | flow->mac[4] |
	       flow->mac[5];
}

/*
 * Delivers a reply to a process of this node as if it came by the link that the process' own
 * packets leave by, for there the reverse path filter expects the frontend.
 */
static __always_inline int forward_to_local_client(struct __sk_buff *skb, const struct flow *flow,
						   const struct hook *hook)
{
	if (flow->ifindex == skb->ifindex && !hook->is_egress)
		return VERDICT_NEXT;
	if (!hook->link_header_size) {
		if (!flow_has_mac(flow))
			return bpf_redirect(flow->ifindex, BPF_F_INGRESS);
		if (packet_add_link_header(skb))
			return -COUNTER_DROP_REWRITE;
	}
	if (bpf_skb_store_bytes(skb, 0, flow->mac, sizeof(flow->mac), 0))
		return -COUNTER_DROP_REWRITE;
	return bpf_redirect(flow->ifindex, BPF_F_INGRESS);
}
