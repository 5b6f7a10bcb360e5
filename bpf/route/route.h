/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Ways out of this node, as the kernel knows them, and the addresses that it has there. */

#include "hook.h"
#include "maps.h"
#include "packet/packet.h"
#include "nat/rewrite.h"

/* A way out of this node. */
struct route {
	struct neighbour next;
	__u32 mtu;          /* of what the way takes, learned from routers too; 0: not known */
	__u16 overhead;     /* given: bytes that will be put before the packet; `mtu` is without */
	__u8 is_unresolved; /* the kernel does not know the next hop's link-layer address */
	__u8 is_answer;     /* given: it goes back to a client, and its sender is told nothing */
};

/*
 * Asks the kernel for the way of a packet as it will be; fib->tot_len is given. Returns
 * BPF_FIB_LKUP_RET_... or a negative errno.
 */
static __always_inline long route_ask(void *ctx, const struct packet *packet,
				      const struct hook *hook, const struct rewrite *rewrite,
				      struct bpf_fib_lookup *fib)
{
	fib->ifindex = hook->ifindex;
	fib->l4_protocol = packet->proto;
	if (packet->fragment == FRAGMENT_NONE) {
		fib->sport = rewrite->src_port;
		fib->dport = rewrite->dst_port;
	}
	if (packet->family == FAMILY_IPV4) {
		fib->family = 2; /* AF_INET */
		fib->ipv4_src = address_ipv4(&rewrite->src);
		fib->ipv4_dst = address_ipv4(&rewrite->dst);
	} else {
		fib->family = 10; /* AF_INET6 */
		__builtin_memcpy(fib->ipv6_src, rewrite->src.bytes, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, rewrite->dst.bytes, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* Who the packet is handed to, by what the kernel said. */
static __always_inline void neighbour_fill(struct neighbour *ret_neighbour,
					   const struct bpf_fib_lookup *fib)
{
	ret_neighbour->next_hop.nh_family = fib->family;
	__builtin_memcpy(ret_neighbour->next_hop.ipv6_nh, fib->ipv6_dst, sizeof(fib->ipv6_dst));
	ret_neighbour->ifindex = fib->ifindex;
}

/* Why there is no way, as its sender is told. */
static __always_inline int route_refusal(long found)
{
	switch (found) {
	case BPF_FIB_LKUP_RET_BLACKHOLE:
		return -COUNTER_DROP_BLACKHOLE;
	case BPF_FIB_LKUP_RET_UNREACHABLE:
		return -COUNTER_UNREACHABLE;
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return -COUNTER_PROHIBITED;
	default:
		return -COUNTER_DROP_NO_ROUTE;
	}
}

/*
 * Finds the way of a packet as it will be. Neighbours that are not known yet are no obstacle: the
 * kernel asks for them when the packet is sent. Returns 0 or -enum counter_reason.
 */
static __noinline int route_find(void *ctx, const struct packet *packet, const struct hook *hook,
				 const struct rewrite *rewrite, struct route *ret_route)
{
	struct bpf_fib_lookup fib = {.tot_len = 1}; /* always fits: so the kernel says what would */
	long found;

	ret_route->mtu = 0;
	found = route_ask(ctx, packet, hook, rewrite, &fib);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return route_refusal(found);
	ret_route->is_unresolved = found == BPF_FIB_LKUP_RET_NO_NEIGH;
	if (config.has_helpers_5_12) {
		if (found == BPF_FIB_LKUP_RET_SUCCESS)
			ret_route->mtu = fib.mtu_result;
		else /* it does not get as far as saying the route's */
			(void)bpf_check_mtu(ctx, fib.ifindex, &ret_route->mtu, 0, 0);
	}
	neighbour_fill(&ret_route->next, &fib);
	return 0;
}

/* The address this node has on a link, or false: none of the family. */
static __always_inline bool link_source_of(__u32 ifindex, __u8 family, struct ip_addr *ret_addr)
{
	const struct link_source *source = bpf_map_lookup_elem(&link_sources, &ifindex);
	const __u32 *words;

	if (!source)
		return false;
	*ret_addr = family == FAMILY_IPV4 ? source->ipv4 : source->ipv6;
	words = address_words_const(ret_addr);
	return words[0] | words[1] | words[2] | words[3];
}

/* The addresses that other nodes know this one by; false: of the family there is none. */
static __always_inline bool node_address_of(__u8 family, struct ip_addr *ret_addr)
{
	const struct link_source *own;
	const __u32 *words;
	__u32 zero = 0;

	own = bpf_map_lookup_elem(&node_address, &zero);
	if (!own)
		return false;
	*ret_addr = family == FAMILY_IPV4 ? own->ipv4 : own->ipv6;
	words = address_words_const(ret_addr);
	return words[0] | words[1] | words[2] | words[3];
}
