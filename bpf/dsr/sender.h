/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The sender of an encapsulated packet is trusted only if it is a node of the cluster and its
 * packets can arrive by this link: an overlay, or a link that leads to that node or to pods of
 * other nodes. This costs route lookups, so packets of a flow that arrived by the same link before
 * are not checked again.
 */

#include "flow/dsr_choice.h"
#include "flow/flow.h"
#include "packet/mac.h"
#include "route/route.h"

/* A route may have several next hops, and a packet may have come by any: this many are sampled. */
#define ROUTES_TRIED 16

/* Pods of this node do not count as nodes, whatever source address they use. */
static __always_inline bool sender_is_node(const struct packet *packet, const struct hook *hook)
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link = bpf_map_lookup_elem(&links, &ifindex);

	return cluster_node_of(&packet->src) == CLUSTER_NODE_OTHER &&
	       !(link && (link->is_near || link->role == LINK_POD));
}

/*
 * True if the route for scratch->rewrite leads out of this link, or out of the bridge that the link
 * is a port of (0: no bridge). A global function, so that the verifier checks it once although it
 * is called in loops.
 */
__noinline int route_leads_by(struct __sk_buff *skb, __u32 ifindex, __u32 bridge)
{
	const struct hook hook = {.ifindex = ifindex};
	struct scratch *scratch = scratch_get();
	struct bpf_fib_lookup fib = {.tot_len = 1}; /* always fits */
	int found;

	if (!scratch)
		return false;
	found = route_ask(skb, &scratch->packet, &hook, &scratch->rewrite, &fib);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	return fib.ifindex == ifindex || (bridge && fib.ifindex == bridge);
}

/*
 * Sets `ret_dst` to the next address whose route shows whether packets of nodes arrive by a link.
 * First that is the sender's address, ROUTES_TRIED times; then the addresses of pods on other
 * nodes, because where pods have a network of their own, packets from nodes to pods arrive by that.
 * Returns false if there is no address for this number.
 */
static __always_inline bool witness_next(const struct ip_addr *sender, __u32 number,
					 struct ip_addr *ret_dst)
{
	bool is_ipv4 = address_is_ipv4(sender);
	const struct backend *backend;
	__u32 place, *id;

	if (number < ROUTES_TRIED) {
		*ret_dst = *sender;
		return true;
	}
	place = number - ROUTES_TRIED + (is_ipv4 ? 0 : FAR_BACKENDS);
	id = bpf_map_lookup_elem(&far_backends, &place);
	backend = id && *id ? bpf_map_lookup_elem(&backends, id) : NULL;
	if (!backend || backend->state == BACKEND_FREE ||
	    (backend->flags & (BACKEND_LOCAL | BACKEND_ON_NODE)) != BACKEND_ON_NODE ||
	    address_is_ipv4(&backend->addr) != is_ipv4 || cluster_node_of(&backend->addr))
		return false;
	*ret_dst = backend->addr;
	return true;
}

/*
 * True if packets from the node with the address scratch->dsr.sender to `receiver` can arrive by
 * this link: it is an overlay, which joins nodes, or the route to that node or to pods of other
 * nodes leads out of it. If a route has several next hops, the kernel picks one by the pair of
 * addresses, so other sources are tried.
 */
static __noinline bool link_leads_to_sender(struct __sk_buff *skb, const struct hook *hook,
					    struct scratch *scratch, const struct ip_addr *receiver)
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link = bpf_map_lookup_elem(&links, &ifindex);

	if (!link)
		return false;
	if (link->role == LINK_OVERLAY || (link->bridge && mac_is_zero(link->mac)))
		return true;
	scratch->rewrite.src = *receiver;
	scratch->rewrite.src_port = 0;
	scratch->rewrite.dst_port = 0;
	for (__u32 number = 0; number < ROUTES_TRIED + FAR_BACKENDS; number++) {
		if (witness_next(&scratch->dsr.sender, number, &scratch->rewrite.dst) &&
		    route_leads_by(skb, ifindex, link->bridge))
			return true;
		address_words(&scratch->rewrite.src)[3] = bpf_get_prandom_u32();
	}
	return false;
}
