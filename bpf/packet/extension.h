/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* IPv6 extension headers (RFC 8200, 4), which stand between the fixed header and the payload. */

#include "packet/packet.h"

#define IPV6_EXTENSION_HEADERS_MAX 8
#define IPV6_OFFSET_MASK           bpf_htons(0xfff8)
#define IPV6_MORE_FRAGMENTS        bpf_htons(0x0001)

struct ipv6_fragment_header {
	__u8 next_header;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

struct ipv6_extension_header {
	__u8 next_header;
	__u8 length; /* in units of 8 bytes, less one (RFC 8200, 4.3); AH: of 4 bytes, less two */
	__u8 type;
	__u8 segments_left; /* of a routing header */
};

static __always_inline bool proto_is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_AH || proto == IPPROTO_FRAGMENT;
}

/* Skips one extension header; false if it cannot be read or changes where the packet goes. */
static __always_inline bool packet_step_extension(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_fragment_header fragment;
	struct ipv6_extension_header header;

	if (packet->proto == IPPROTO_FRAGMENT) {
		if (packet_load(skb, packet->l4_offset, &fragment, sizeof(fragment)))
			return false;
		packet->fragment_id = fragment.id;
		if (fragment.offset & IPV6_OFFSET_MASK)
			packet->fragment = FRAGMENT_LATER;
		else if (fragment.offset & IPV6_MORE_FRAGMENTS)
			packet->fragment = FRAGMENT_FIRST;
		packet->proto = fragment.next_header;
		packet->l4_offset += sizeof(fragment);
		return true;
	}
	if (packet_load(skb, packet->l4_offset, &header, sizeof(header)))
		return false;
	if (packet->proto == IPPROTO_ROUTING && header.segments_left)
		return false;
	packet->l4_offset +=
		packet->proto == IPPROTO_AH ? (header.length + 2U) * 4 : (header.length + 1U) * 8;
	packet->proto = header.next_header;
	return true;
}

/*
 * True at the end of the chain. A later fragment contains no header, whatever its protocol field
 * says.
 */
static __always_inline bool extensions_are_skipped(const struct packet *packet)
{
	return packet->fragment == FRAGMENT_LATER || !proto_is_extension(packet->proto);
}

/*
 * Follows the chain of extension headers (RFC 8200, 4) to the payload. A hook may call it more than
 * once, with the same result each time.
 */
static __noinline bool packet_skip_extensions(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->flags & PACKET_CHAIN_IS_BROKEN)
		return false;
	for (int i = 0; i < IPV6_EXTENSION_HEADERS_MAX; i++) {
		if (extensions_are_skipped(packet))
			return true;
		if (!packet_step_extension(skb, packet))
			break;
	}
	if (extensions_are_skipped(packet))
		return true;
	packet->flags |= PACKET_CHAIN_IS_BROKEN;
	return false;
}
