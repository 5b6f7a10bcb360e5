/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Routes out of this node as the kernel knows them, and the node's addresses on its links. */

#include "hook.h"
#include "maps.h"
#include "packet/packet.h"
#include "nat/rewrite.h"

/* A route out of this node. */
struct route {
	struct neighbour next;
	__u32 mtu;          /* path MTU, including what routers reported; 0: not known */
	__u16 overhead;     /* in: bytes that will be prepended; `mtu` is without */
	__u8 is_unresolved; /* the kernel does not know the next hop's link-layer address */
	__u8 is_answer;     /* in: it goes back to a client; its sender gets no errors */
};

/*
 * Looks up the kernel's route for a packet as it will be after `rewrite`; the caller sets
 * fib->tot_len. Returns BPF_FIB_LKUP_RET_... or a negative errno.
 */
static __always_inline int route_ask(void *ctx, const struct packet *packet,
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
		fib->family = AF_INET;
		fib->ipv4_src = address_ipv4(&rewrite->src);
		fib->ipv4_dst = address_ipv4(&rewrite->dst);
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, rewrite->src.bytes, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, rewrite->dst.bytes, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* Fills in the next hop from a route lookup. */
static __always_inline void neighbour_fill(struct neighbour *ret_neighbour,
					   const struct bpf_fib_lookup *fib)
{
	ret_neighbour->next_hop.nh_family = fib->family;
	__builtin_memcpy(ret_neighbour->next_hop.ipv6_nh, fib->ipv6_dst, sizeof(fib->ipv6_dst));
	ret_neighbour->ifindex = fib->ifindex;
}

/* Translates a failed lookup into the reason that decides which error the sender gets. */
static __always_inline int route_refusal(int found)
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
 * Finds the route for a packet as it will be after `rewrite`. An unresolved neighbour is not an
 * error: the kernel resolves it when the packet is sent. Returns 0 or -enum counter_reason.
 */
static __noinline int route_find(void *ctx, const struct packet *packet, const struct hook *hook,
				 const struct rewrite *rewrite, struct route *ret_route)
{
	struct bpf_fib_lookup fib = {.tot_len = 1}; /* always fits, so the kernel reports the MTU */
	int found;

	ret_route->mtu = 0;
	found = route_ask(ctx, packet, hook, rewrite, &fib);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return route_refusal(found);
	ret_route->is_unresolved = found == BPF_FIB_LKUP_RET_NO_NEIGH;
	if (config.has_helpers_5_12) {
		if (found == BPF_FIB_LKUP_RET_SUCCESS)
			ret_route->mtu = fib.mtu_result;
		else /* without a neighbour the lookup ends before it reports the MTU */
			(void)bpf_check_mtu(ctx, fib.ifindex, &ret_route->mtu, 0, 0);
	}
	neighbour_fill(&ret_route->next, &fib);
	return 0;
}

/* Finds the address this node has on a link; false if it has none of the family. */
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

/* Finds the address by which other nodes know this one; false if it has none of the family. */
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
