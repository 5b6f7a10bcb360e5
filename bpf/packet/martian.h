/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Packets that every stack drops on receipt: their source is one that no host can have (RFC 1122,
 * 3.2.1.3; RFC 4291, 2.5 and 2.7), or their IPv4 header is broken. They are left to the stack.
 */

#include "packet/packet.h"

#define IPV4_LOOPBACK_NET   127
#define IPV4_MULTICAST_NET  224
#define IPV4_RESERVED_NET   240
#define IPV4_BROADCAST      bpf_htonl(0xffffffffU)
#define IPV6_MULTICAST_BYTE 0xff

/* 0/8, 127/8, multicast and the limited broadcast address. */
static __always_inline bool source_is_martian_ipv4(const struct ip_addr *source)
{
	__u8 net = source->bytes[12];

	if (net >= IPV4_RESERVED_NET)
		return address_ipv4(source) == IPV4_BROADCAST;
	return !net || net == IPV4_LOOPBACK_NET || net >= IPV4_MULTICAST_NET;
}

/*
 * The unspecified address, loopback, multicast, and IPv4-mapped addresses: on the wire the latter
 * would be taken here for an IPv4 packet's address.
 */
static __always_inline bool source_is_martian_ipv6(const struct ip_addr *source)
{
	const __u32 *words = address_words_const(source);

	if (source->bytes[0] == IPV6_MULTICAST_BYTE)
		return true;
	if (words[0] | words[1])
		return false;
	return words[2] == MAPPED_PREFIX_WORD ||
	       (!words[2] && (!words[3] || words[3] == (__u32)bpf_htonl(1)));
}

static __always_inline bool packet_is_martian(const struct packet *packet)
{
	if (packet->family == FAMILY_IPV4)
		return source_is_martian_ipv4(&packet->src);
	return source_is_martian_ipv6(&packet->src) || address_is_ipv4(&packet->dst);
}
