/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Direct server return on the node where a client's packets arrive: which flows use it. */

#include "flow/flow.h"
#include "route/route.h"

/* What the address is to the cluster: enum cluster_node, or 0 if no node has it. */
static __always_inline __u32 cluster_node_of(const struct ip_addr *addr)
{
	const __u32 *node = bpf_map_lookup_elem(&cluster_nodes, addr);

	return node ? *node : 0;
}

/*
 * True if the new flow of a far client to a backend on another node can use direct server return:
 * it is enabled, and the backend's node will unwrap and can deliver such packets. That node would
 * drop packets from its own addresses as martians, so clients that are nodes get source NAT; so do
 * backends that connect to themselves. An endpoint that names no node is not in the cluster. A node
 * that is itself a backend may be the end of other tunnels: it accepts only packets to frontends
 * that it can recognise.
 */
static __noinline bool dsr_is_possible(const struct flow_key *key, const struct choice *choice)
{
	const struct address_info *frontend;
	struct ip_addr own;

	if (config.forwarding == FORWARDING_SNAT ||
	    (config.forwarding == FORWARDING_HYBRID && key->proto != IPPROTO_TCP))
		return false;
	if (!(choice->flags & BACKEND_ON_NODE) ||
	    !node_address_of(address_is_ipv4(&key->dst) ? FAMILY_IPV4 : FAMILY_IPV6, &own))
		return false;
	if (cluster_node_of(&key->src) || address_equal(&key->src, &choice->addr))
		return false;
	if (!cluster_node_of(&choice->addr))
		return true;
	frontend = address_lookup(&key->dst);
	return !frontend || !(frontend->flags & ADDRESS_NODE) || cluster_node_of(&key->dst);
}
