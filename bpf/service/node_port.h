/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Frontends at addresses of this node, which has business of its own there. */

#include "maps.h"
#include "packet/packet.h"
#include "service/service.h"

/* An address that has frontends; one that has none any more is ADDRESS_RETIRED. */
#define ADDRESS_SERVED (ADDRESS_CLUSTER_IP | ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS)
#define ADDRESS_VIP    (ADDRESS_SERVED | ADDRESS_RETIRED)

/* An address of the node with frontends of its own: not all of its ports are the stack's. */
static __always_inline bool has_node_ports(const struct address_info *address)
{
	return address->flags & ADDRESS_NODE && address->flags & ADDRESS_VIP;
}

/* A load balancer's or external IP that a link of this node has, perhaps others' as well. */
static __always_inline bool is_vip_of_node(const struct address_info *address)
{
	return address->flags & ADDRESS_NODE && address->flags & ADDRESS_EXTERNAL;
}

/* Ports of this node's own addresses that ever had a flow. */
static __always_inline struct node_ports *node_ports_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node_ports, &zero);
}

/*
 * The place of a port in struct node_ports. The verifier loses the bounds of a number whose bytes
 * are swapped (until 6.18.16), and the compiler would leave a mask out that it can prove to be
 * useless: hence the one that it cannot see through.
 */
static __always_inline __u32 node_port_index(__be16 port)
{
	__u32 index = bpf_ntohs(port);

	asm volatile("%0 &= 0xffff" : "+r"(index));
	return index;
}

static __always_inline bool node_port_is_marked(__be16 port)
{
	const struct node_ports *ports = node_ports_get();

	return ports && ports->used[node_port_index(port)];
}

static __always_inline void node_port_mark(__be16 port)
{
	struct node_ports *ports = node_ports_get();

	if (ports)
		ports->used[node_port_index(port)] = 1;
}

/* True if the packet is for a frontend at an address of this node, or may be of a flow of one. */
static __always_inline bool is_for_node_port(const struct packet *packet,
					     const struct address_info *address)
{
	return address->flags & ADDRESS_VIP &&
	       (node_port_is_marked(packet->dst_port) ||
		frontend_lookup(&packet->dst, packet->dst_port, packet->proto));
}
