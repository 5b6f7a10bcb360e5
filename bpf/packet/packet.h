/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Parses packets. Addresses are read first, straight from the packet, because for most packets the
 * lookup in `addresses` ends the work; ports are read only on demand. All reads are bounded: a
 * missing field is an error, never a guess.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>

#include "packet/address.h"
#include "packet/checksum.h"
#include "config.h"
#include "maps.h"
#include "packet/sctp.h"

/* RFC 792 and RFC 4443; <linux/icmp.h> cannot be included here, because it needs a C library. */
enum icmp_type {
	ICMP_ECHO_REPLY = 0,
	ICMP_DESTINATION_UNREACHABLE = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_ECHO_REQUEST = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_DESTINATION_UNREACHABLE = 1,
	ICMPV6_PACKET_TOO_BIG = 2,
	ICMPV6_TIME_EXCEEDED = 3,
	ICMPV6_INFORMATIONAL = 128, /* types from here on are not errors */
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

enum icmp_code {
	ICMP_NET_UNREACHABLE = 0,
	ICMP_HOST_UNREACHABLE = 1,
	ICMP_PORT_UNREACHABLE = 3,
	ICMP_FRAGMENTATION_NEEDED = 4,
	ICMP_PROHIBITED = 13,
	ICMPV6_NO_ROUTE = 0,
	ICMPV6_PROHIBITED = 1,
	ICMPV6_ADDRESS_UNREACHABLE = 3,
	ICMPV6_PORT_UNREACHABLE = 4,
};

enum packet_fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2, /* has no transport header */
};

enum tcp_flag {
	TCP_FIN = 1U << 0,
	TCP_SYN = 1U << 1,
	TCP_RST = 1U << 2,
	TCP_ACK = 1U << 4,
};

/* What we know of a packet besides its headers. */
enum packet_flag {
	PACKET_OF_NODE = 1U << 0,    /* at egress: the node itself sends it */
	PACKET_FOR_BRIDGE = 1U << 1, /* at ingress: its destination is behind a bridge */
	/*
	 * IPv4: the header's fixed part does not sum to zero; its options may make up the
	 * difference.
	 */
	PACKET_SUM_IS_OFF = 1U << 2,
	PACKET_SEGMENT_IS_BROKEN = 1U << 3, /* a RST or FIN whose checksum is wrong */
	PACKET_CHAIN_IS_BROKEN = 1U << 4,   /* IPv6: its extension headers cannot be followed */
};

struct packet {
	struct ip_addr src;
	struct ip_addr dst;
	__be16 src_port;
	__be16 dst_port;
	__u32 l3_offset;
	__u32 l4_offset;
	__be32 fragment_id;
	__u8 family;    /* enum ip_family */
	__u8 proto;     /* IPPROTO_*, after any extension headers */
	__u8 tcp_flags; /* enum tcp_flag */
	__u8 fragment;  /* enum packet_fragment */
	__u8 ttl;       /* or hop limit */
	__u8 icmp_type;
	__u8 sctp_chunk;       /* type of the first chunk: enum sctp_chunk or another */
	__u8 sctp_chunk_flags; /* flags of the first chunk */
	__u8 transport_header; /* TCP: size with options */
	__u8 flags;            /* enum packet_flag */
	__u8 pad[2];
	__u32 size;     /* from the IP header on, as that gives it; 0: larger than it can say */
	__u32 sequence; /* TCP: of its first byte */
	union {
		__u32 acknowledged; /* TCP */
		__be32 sctp_tag;    /* the verification tag */
	};
	__be32 sctp_initiate_tag; /* of INIT and INIT ACK; 0: cut off */
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

struct vlan_header {
	__be16 tci;
	__be16 protocol;
};

#define VLAN_TAGS_MAX       2
#define TCP_DATA_OFFSET     12 /* in the upper half of the byte, in units of 4 bytes */
#define IPV4_OFFSET_MASK    bpf_htons(0x1fff)
#define IPV4_MORE_FRAGMENTS bpf_htons(0x2000)

/* Copies a header out of the packet; returns an error if the packet is too short. */
static __always_inline int packet_load(struct __sk_buff *skb, __u32 offset, void *header,
				       __u32 size)
{
	return bpf_skb_load_bytes(skb, offset, header, size);
}

/*
 * Finds the protocol and offset of the network header, behind the link-layer header and any VLAN
 * tags still in the packet (the kernel usually keeps the outermost tag outside the packet data).
 */
static __always_inline __be16 packet_network(struct __sk_buff *skb, __u32 link_header_size,
					     __u32 *ret_offset)
{
	__be16 protocol = skb->protocol;
	__u32 offset = link_header_size;
	struct vlan_header tag;

	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (packet_load(skb, offset, &tag, sizeof(tag)))
			return 0;
		protocol = tag.protocol;
		offset += sizeof(tag);
	}
	*ret_offset = offset;
	return protocol;
}

/* Returns PACKET_SUM_IS_OFF if the fixed part of the header does not sum to zero, else 0. */
static __always_inline __u8 ipv4_sum_flag(const struct iphdr *header)
{
	const __u32 *words = (const void *)header;
	__u64 sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];

	return checksum_fold(sum) == 0xffff ? 0 : PACKET_SUM_IS_OFF;
}

/* Reads the IPv4 header at `offset`; false if there is no valid one. */
static __always_inline bool packet_read_ipv4(struct __sk_buff *skb, __u32 offset,
					     struct packet *packet)
{
	struct iphdr header;
	__be16 fragment;

	if (packet_load(skb, offset, &header, sizeof(header)))
		return false;
	if (header.version != 4 || header.ihl < 5)
		return false;
	address_set_ipv4(&packet->src, header.saddr);
	address_set_ipv4(&packet->dst, header.daddr);
	packet->family = FAMILY_IPV4;
	packet->proto = header.protocol;
	packet->ttl = header.ttl;
	packet->size = bpf_ntohs(header.tot_len);
	packet->l3_offset = offset;
	packet->l4_offset = offset + header.ihl * 4;
	packet->flags = ipv4_sum_flag(&header);
	fragment = header.frag_off;
	packet->fragment_id = header.id;
	if (fragment & IPV4_OFFSET_MASK)
		packet->fragment = FRAGMENT_LATER;
	else if (fragment & IPV4_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	else
		packet->fragment = FRAGMENT_NONE;
	return true;
}

/*
 * The size of a packet with its fixed IPv6 header; 0 if it is larger than the field can say, or a
 * jumbogram.
 */
static __always_inline __u32 ipv6_size(__be16 payload)
{
	return payload ? bpf_ntohs(payload) + sizeof(struct ipv6hdr) : 0;
}

/*
 * Reads the fixed IPv6 header at `offset`; extension headers are read only when ports are needed.
 */
static __always_inline bool packet_read_ipv6(struct __sk_buff *skb, __u32 offset,
					     struct packet *packet)
{
	struct ipv6hdr header;

	if (packet_load(skb, offset, &header, sizeof(header)))
		return false;
	if (header.version != 6)
		return false;
	__builtin_memcpy(packet->src.bytes, &header.saddr, sizeof(packet->src.bytes));
	__builtin_memcpy(packet->dst.bytes, &header.daddr, sizeof(packet->dst.bytes));
	packet->family = FAMILY_IPV6;
	packet->proto = header.nexthdr;
	packet->ttl = header.hop_limit;
	packet->size = ipv6_size(header.payload_len);
	packet->l3_offset = offset;
	packet->l4_offset = offset + sizeof(header);
	packet->fragment = FRAGMENT_NONE;
	return true;
}

static __always_inline bool packet_read_network(struct __sk_buff *skb, __be16 protocol,
						__u32 offset, struct packet *packet)
{
	if (protocol == bpf_htons(ETH_P_IP))
		return packet_read_ipv4(skb, offset, packet);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return packet_read_ipv6(skb, offset, packet);
	return false;
}

/* A segment that closes a connection is short: a header with options, and seldom data. */
#define SEGMENT_WORDS_MAX 24

/*
 * The number of words to sum in a segment; 0 if it is too long to sum or not a whole number of
 * words.
 */
static __always_inline __u32 segment_words(const struct packet *packet)
{
	__u32 size = packet->size - (packet->l4_offset - packet->l3_offset);
	__u32 words = size / sizeof(__u32);

	return size % sizeof(__u32) || words > SEGMENT_WORDS_MAX ? 0 : words;
}

static __always_inline __u64 pseudo_sum(const struct packet *packet, __u32 words)
{
	const __u32 *src = address_words_const(&packet->src);
	const __u32 *dst = address_words_const(&packet->dst);
	__u64 sum = (__u16)bpf_htons(IPPROTO_TCP);

	sum += (__u16)bpf_htons((__u16)(words * sizeof(__u32)));

	/* A mapped address sums to its IPv4 address, because 0xffff is zero in one's complement. */
	for (int i = 0; i < 4; i++)
		sum += (__u64)src[i] + dst[i];
	return sum;
}

/*
 * `sum` is that of all words. An unfinished checksum, which holds only the pseudo header's sum, is
 * not wrong.
 */
static __always_inline bool sum_is_wrong(const struct packet *packet, __u32 words, __u64 sum,
					 __u16 checksum)
{
	__u64 pseudo = pseudo_sum(packet, words);

	return checksum_fold(sum + pseudo) != 0xffff && checksum_fold(pseudo) != checksum;
}

/*
 * True if the receiver of a RST or FIN would discard it for its checksum (RFC 9293, 3.1). A RST too
 * long to be summed counts as broken, because no stack sends one; a FIN may carry data.
 */
static __noinline bool segment_is_broken(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 words = segment_words(packet), word;
	__u16 checksum = 0;
	__u64 sum = 0;

	if (!words)
		return packet->tcp_flags & TCP_RST;
	if (packet_load(skb, packet->l4_offset + offsetof(struct tcphdr, check), &checksum,
			sizeof(checksum)))
		return true;
	for (__u32 i = 0; i < SEGMENT_WORDS_MAX && i < words; i++) {
		if (packet_load(skb, packet->l4_offset + i * sizeof(word), &word, sizeof(word)))
			return true;
		sum += word;
	}
	return sum_is_wrong(packet, words, sum, checksum);
}

static __always_inline bool packet_read_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__be16 src_port, dst_port;
		__be32 sequence, acknowledgement;
		__u8 data_offset, flags;
		__u8 rest[6];
	} tcp;

	if (packet_load(skb, packet->l4_offset, &tcp, sizeof(tcp)))
		return false;
	packet->src_port = tcp.src_port;
	packet->dst_port = tcp.dst_port;
	packet->tcp_flags = tcp.flags;
	packet->transport_header = (tcp.data_offset >> 4) * 4;
	packet->sequence = bpf_ntohl(tcp.sequence);
	packet->acknowledged = bpf_ntohl(tcp.acknowledgement);
	/* The kernel may have merged segments into one whose size its header cannot express. */
	if (!packet->size)
		packet->size = skb->len - packet->l3_offset;
	if (tcp.flags & (TCP_RST | TCP_FIN) && segment_is_broken(skb, packet))
		packet->flags |= PACKET_SEGMENT_IS_BROKEN;
	return true;
}

static __always_inline bool packet_read_udp(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__be16 src_port, dst_port;
		__be16 length;
		__sum16 checksum;
	} udp;

	if (packet_load(skb, packet->l4_offset, &udp, sizeof(udp)))
		return false;
	packet->src_port = udp.src_port;
	packet->dst_port = udp.dst_port;
	return true;
}

static __always_inline bool packet_read_sctp(struct __sk_buff *skb, struct packet *packet)
{
	struct sctp_header sctp;

	if (packet_load(skb, packet->l4_offset, &sctp, sizeof(sctp)))
		return false;
	packet->src_port = sctp.src_port;
	packet->dst_port = sctp.dst_port;
	packet->sctp_chunk = sctp.chunk;
	packet->sctp_chunk_flags = sctp.chunk_flags;
	packet->sctp_tag = sctp.tag;
	if (sctp.chunk == SCTP_INIT || sctp.chunk == SCTP_INIT_ACK)
		(void)packet_load(skb, packet->l4_offset + SCTP_INITIATE_TAG_OFFSET,
				  &packet->sctp_initiate_tag, sizeof(packet->sctp_initiate_tag));
	return true;
}

/*
 * Reads the transport header: ports and flags, or the ICMP type. Returns false if the header is cut
 * short.
 */
static __always_inline bool packet_read_transport(struct __sk_buff *skb, struct packet *packet)
{
	switch (packet->proto) {
	case IPPROTO_TCP:
		return packet_read_tcp(skb, packet);
	case IPPROTO_UDP:
		return packet_read_udp(skb, packet);
	case IPPROTO_SCTP:
		return packet_read_sctp(skb, packet);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return !packet_load(skb, packet->l4_offset, &packet->icmp_type,
				    sizeof(packet->icmp_type));
	default:
		return true;
	}
}

static __always_inline bool packet_is_icmp(const struct packet *packet)
{
	return packet->proto == (packet->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* True for errors, which quote the packet that they are about (RFC 792; RFC 4443, 2.1). */
static __always_inline bool icmp_type_is_error(__u8 family, __u8 type)
{
	if (family == FAMILY_IPV6)
		return type < ICMPV6_INFORMATIONAL;
	return type == ICMP_DESTINATION_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM || type == ICMP_SOURCE_QUENCH;
}

static __always_inline bool icmp_type_is_echo(__u8 family, __u8 type)
{
	return type == (family == FAMILY_IPV6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST);
}

/* True for a SYN that opens a connection. */
static __always_inline bool packet_opens_tcp(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* The protocols that Services can have. */
static __always_inline bool proto_has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Protocols whose conversations begin with distinctive packets: both sides keep state. */
static __always_inline bool proto_has_handshake(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_SCTP;
}

/* True if the packet may begin a conversation. */
static __always_inline bool packet_opens(const struct packet *packet)
{
	if (packet->proto == IPPROTO_SCTP)
		return packet->sctp_chunk == SCTP_INIT;
	return packet->proto != IPPROTO_TCP || packet_opens_tcp(packet);
}

/* The amount of sequence space that a TCP segment occupies (RFC 9293, 3.4). */
static __always_inline __u32 packet_sequence_length(const struct packet *packet)
{
	__u32 headers = packet->l4_offset - packet->l3_offset + packet->transport_header;
	__u32 length = packet->size > headers ? packet->size - headers : 0;

	if (packet->tcp_flags & TCP_SYN)
		length++;
	if (packet->tcp_flags & TCP_FIN)
		length++;
	return length;
}

/* The number of bytes after the IP header and its extensions, by the length in the IP header. */
static __always_inline __u32 packet_transport_size(struct __sk_buff *skb,
						   const struct packet *packet)
{
	__u32 header = packet->l4_offset - packet->l3_offset;
	__be16 length = 0;

	if (packet->family == FAMILY_IPV4) {
		(void)packet_load(skb, packet->l3_offset + offsetof(struct iphdr, tot_len), &length,
				  sizeof(length));
		return bpf_ntohs(length) - header;
	}
	(void)packet_load(skb, packet->l3_offset + offsetof(struct ipv6hdr, payload_len), &length,
			  sizeof(length));
	return bpf_ntohs(length) + sizeof(struct ipv6hdr) - header;
}

/*
 * The offset at which a packet ends by its IP header; padding of the link may follow. A GSO packet
 * that is too large for the length field has a length of 0 there.
 */
static __noinline __u32 packet_end(struct __sk_buff *skb, const struct packet *packet)
{
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	__be16 length = 0;

	(void)packet_load(skb,
			  packet->l3_offset + (is_ipv4 ? offsetof(struct iphdr, tot_len)
						       : offsetof(struct ipv6hdr, payload_len)),
			  &length, sizeof(length));
	if (!length && skb->gso_size)
		return skb->len;
	return packet->l3_offset + bpf_ntohs(length) + (is_ipv4 ? 0 : sizeof(struct ipv6hdr));
}
