/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The ports of this node's addresses that may have had flows: once a NodePort, always one of them.
 * All other ports belong to the stack, at the cost of one byte's lookup.
 */

#include "maps.h"
#include "packet/packet.h"
#include "service/service.h"

static __always_inline struct node_ports *node_ports_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node_ports, &zero);
}

/*
 * The index of a port in struct node_ports. The verifier loses the bounds of a number at a byte
 * swap (until 6.18.16), and the compiler would remove a mask that it can prove redundant: hence the
 * assembly, which the compiler cannot see through.
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

/*
 * True if the packet is for a frontend at an address of this node, or may belong to a flow of one.
 */
static __always_inline bool is_for_node_port(const struct packet *packet,
					     const struct address_info *address)
{
	return address->flags & ADDRESS_VIP &&
	       (node_port_is_marked(packet->dst_port) ||
		frontend_lookup(&packet->dst, packet->dst_port, packet->proto));
}
