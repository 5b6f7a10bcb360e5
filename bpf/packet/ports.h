/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Reads the ports of any packet: behind IPv6 extension headers, and of later fragments too. */

#include "packet/extension.h"
#include "packet/fragment.h"
#include "packet/packet.h"

/* Reads the ports, those of later fragments too. Returns 0 or -COUNTER_DROP_... */
static __always_inline int packet_read_ports(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->family == FAMILY_IPV6 && !packet_skip_extensions(skb, packet))
		return -COUNTER_DROP_MALFORMED;
	if (packet->fragment != FRAGMENT_LATER && !packet_read_transport(skb, packet))
		return -COUNTER_DROP_MALFORMED;
	if (packet->fragment == FRAGMENT_NONE || packet_is_icmp(packet))
		return 0;
	return fragment_ports(packet) ? 0 : -COUNTER_DROP_FRAGMENT;
}

/* Out-of-line copy for the cold callers: saves stack at the price of a call. */
static __noinline int packet_read_ports_noinline(struct __sk_buff *skb, struct packet *packet)
{
	return packet_read_ports(skb, packet);
}
