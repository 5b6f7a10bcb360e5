/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Direct server return, where a client's packets arrive: which flows go this way. */

#include "flow/flow.h"
#include "route/route.h"

/* The address of a node of the cluster: enum cluster_node, or 0. */
static __always_inline __u32 cluster_node_of(const struct ip_addr *addr)
{
	const __u32 *node = bpf_map_lookup_elem(&cluster_nodes, addr);

	return node ? *node : 0;
}

/*
 * True if the new flow of a far client to a backend elsewhere goes by direct server return: where
 * it is wanted, and where the backend's node will unwrap and can deliver such packets. It would
 * call packets of its own addresses martians, so clients that are nodes get source NAT; and so do
 * backends that meet themselves. Endpoints that name no node are not of the cluster. A node that is
 * a backend itself may have tunnels of other makes: it takes only packets to frontends it can know.
 */
static __noinline bool dsr_is_possible(const struct flow_draft *draft)
{
	const struct flow_key *key = &draft->original_key;
	const struct address_info *frontend;
	struct ip_addr own;

	if (config.forwarding == FORWARDING_SNAT ||
	    (config.forwarding == FORWARDING_HYBRID && key->proto != IPPROTO_TCP))
		return false;
	if (!(draft->choice.flags & BACKEND_ON_NODE) ||
	    !node_address_of(address_is_ipv4(&key->dst) ? FAMILY_IPV4 : FAMILY_IPV6, &own))
		return false;
	if (cluster_node_of(&key->src) || address_equal(&key->src, &draft->choice.addr))
		return false;
	if (!cluster_node_of(&draft->choice.addr))
		return true;
	frontend = address_lookup(&key->dst);
	return !frontend || !(frontend->flags & ADDRESS_NODE) || cluster_node_of(&key->dst);
}
