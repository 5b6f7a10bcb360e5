/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* The tuples by which flows are looked up. */

#include "packet/packet.h"

/*
 * Hashes a key; the upper bits depend on every bit of it. The factors are odd numbers without a
 * pattern, one for each part, so that the multiplications run in parallel.
 */
static __always_inline __u32 flow_key_hash(const struct flow_key *key)
{
	const __u32 *words = (const __u32 *)key;

	return words[3] * 0x9e3779b1U + words[7] * 0x85ebca77U + words[8] * 0xc2b2ae3dU +
	       (words[0] ^ words[1] ^ words[2] ^ words[4] ^ words[5] ^ words[6] ^ words[9]) *
		       0x27d4eb2fU;
}

/* The key of the half that travels in the packet's direction. */
static __always_inline void packet_flow_key(const struct packet *packet,
					    enum flow_direction direction, struct flow_key *ret_key)
{
	__builtin_memset(ret_key, 0, sizeof(*ret_key));
	ret_key->src = packet->src;
	ret_key->dst = packet->dst;
	ret_key->src_port = packet->src_port;
	ret_key->dst_port = packet->dst_port;
	ret_key->proto = packet->proto;
	ret_key->direction = direction;
}

/* The key of the half that travels in the opposite direction. */
static __always_inline void packet_flow_key_back(const struct packet *packet,
						 enum flow_direction direction,
						 struct flow_key *ret_key)
{
	__builtin_memset(ret_key, 0, sizeof(*ret_key));
	ret_key->src = packet->dst;
	ret_key->dst = packet->src;
	ret_key->src_port = packet->dst_port;
	ret_key->dst_port = packet->src_port;
	ret_key->proto = packet->proto;
	ret_key->direction = direction;
}

/*
 * Fills in the tuple by which the kernel finds the socket that gets packets with this key. Returns
 * its size.
 */
static __always_inline __u32 flow_key_socket_tuple(const struct flow_key *key,
						   struct bpf_sock_tuple *ret_tuple)
{
	if (address_is_ipv4(&key->src)) {
		ret_tuple->ipv4.saddr = address_ipv4(&key->src);
		ret_tuple->ipv4.daddr = address_ipv4(&key->dst);
		ret_tuple->ipv4.sport = key->src_port;
		ret_tuple->ipv4.dport = key->dst_port;
		return sizeof(ret_tuple->ipv4);
	}
	__builtin_memcpy(ret_tuple->ipv6.saddr, &key->src, sizeof(ret_tuple->ipv6.saddr));
	__builtin_memcpy(ret_tuple->ipv6.daddr, &key->dst, sizeof(ret_tuple->ipv6.daddr));
	ret_tuple->ipv6.sport = key->src_port;
	ret_tuple->ipv6.dport = key->dst_port;
	return sizeof(ret_tuple->ipv6);
}
