/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Frames as XDP sees them, before the kernel has made packets of them. Only plain ones are read:
 * Ethernet, an IPv4 header without options or an IPv6 header without extensions, no fragments. All
 * others are left to TC, which can read them. So the offset of every header is known here.
 */

#include "packet/packet.h"

/* The frame's first buffer: the only part that a program can read without a helper. */
struct frame {
	void *data;
	void *end;
};

static __always_inline struct frame frame_of(const struct xdp_md *xdp)
{
	return (struct frame){
		.data = (void *)(unsigned long)xdp->data,
		.end = (void *)(unsigned long)xdp->data_end,
	};
}

static __always_inline bool frame_read_ipv4(const struct frame *frame, struct packet *packet)
{
	const struct iphdr *header = frame->data + ETH_HLEN;

	if ((void *)(header + 1) > frame->end)
		return false;
	if (header->version != 4 || header->ihl != 5 ||
	    header->frag_off & (IPV4_OFFSET_MASK | IPV4_MORE_FRAGMENTS))
		return false;
	address_set_ipv4(&packet->src, header->saddr);
	address_set_ipv4(&packet->dst, header->daddr);
	packet->family = FAMILY_IPV4;
	packet->proto = header->protocol;
	packet->ttl = header->ttl;
	packet->size = bpf_ntohs(header->tot_len);
	packet->l3_offset = ETH_HLEN;
	packet->l4_offset = ETH_HLEN + sizeof(*header);
	packet->flags = ipv4_sum_flag(header);
	return true;
}

static __always_inline bool frame_read_ipv6(const struct frame *frame, struct packet *packet)
{
	const struct ipv6hdr *header = frame->data + ETH_HLEN;

	if ((void *)(header + 1) > frame->end)
		return false;
	if (header->version != 6)
		return false;
	__builtin_memcpy(packet->src.bytes, &header->saddr, sizeof(packet->src.bytes));
	__builtin_memcpy(packet->dst.bytes, &header->daddr, sizeof(packet->dst.bytes));
	packet->family = FAMILY_IPV6;
	packet->proto = header->nexthdr;
	packet->ttl = header->hop_limit;
	packet->size = ipv6_size(header->payload_len);
	packet->l3_offset = ETH_HLEN;
	packet->l4_offset = ETH_HLEN + sizeof(*header);
	return true;
}

/* Reads addresses and the protocol; false if the packet must be left to TC. */
static __always_inline bool frame_read_network(const struct frame *frame, struct packet *packet)
{
	const struct ethhdr *header = frame->data;

	if ((void *)(header + 1) > frame->end)
		return false;
	if (header->h_proto == bpf_htons(ETH_P_IP))
		return frame_read_ipv4(frame, packet);
	if (header->h_proto == bpf_htons(ETH_P_IPV6))
		return frame_read_ipv6(frame, packet);
	return false;
}

/* The transport header, or NULL if fewer than `size` bytes of it are there. */
static __always_inline void *frame_transport(const struct frame *frame, const struct packet *packet,
					     __u32 size)
{
	void *ipv4 = frame->data + ETH_HLEN + sizeof(struct iphdr);
	void *ipv6 = frame->data + ETH_HLEN + sizeof(struct ipv6hdr);
	void *header = packet->family == FAMILY_IPV4 ? ipv4 : ipv6;

	return header + size > frame->end ? NULL : header;
}

/* Like segment_is_broken(). */
static __noinline bool frame_segment_is_broken(const struct xdp_md *xdp,
					       const struct packet *packet)
{
	struct frame frame = frame_of(xdp);
	const struct tcphdr *tcp = frame_transport(&frame, packet, sizeof(*tcp));
	__u32 words = segment_words(packet);
	const __u32 *word;
	__u64 sum = 0;

	if (!words)
		return packet->tcp_flags & TCP_RST;
	if (!tcp)
		return true;
	word = (const __u32 *)tcp;
	for (__u32 i = 0; i < SEGMENT_WORDS_MAX && i < words; i++) {
		/*
		 * Otherwise clang 19 adjusts frame.end instead of the pointer, which no verifier
		 * accepts.
		 */
		barrier_var(word);
		if ((void *)(word + 1) > frame.end)
			return true;
		sum += *word++;
	}
	return sum_is_wrong(packet, words, sum, tcp->check);
}

/* The verification tag that the sender of an INIT or INIT ACK has chosen for packets to it. */
static __always_inline __be32 frame_initiate_tag(const struct frame *frame,
						 const struct packet *packet)
{
	const void *header =
		frame_transport(frame, packet, SCTP_INITIATE_TAG_OFFSET + sizeof(__be32));

	return header ? *(const __be32 *)(header + SCTP_INITIATE_TAG_OFFSET) : 0;
}

/*
 * Reads ports and the fields that connection tracking needs; false if the packet must be left to
 * TC.
 */
static __always_inline bool frame_read_transport(const struct frame *frame, struct packet *packet)
{
	const struct sctp_header *sctp;
	const struct tcphdr *tcp;
	const struct udphdr *udp;

	switch (packet->proto) {
	case IPPROTO_TCP:
		tcp = frame_transport(frame, packet, sizeof(*tcp));
		if (!tcp)
			return false;
		packet->src_port = tcp->source;
		packet->dst_port = tcp->dest;
		packet->tcp_flags = ((const __u8 *)tcp)[13];
		packet->transport_header = (((const __u8 *)tcp)[TCP_DATA_OFFSET] >> 4) * 4;
		packet->sequence = bpf_ntohl(tcp->seq);
		packet->acknowledged = bpf_ntohl(tcp->ack_seq);
		return true;
	case IPPROTO_UDP:
		udp = frame_transport(frame, packet, sizeof(*udp));
		if (!udp)
			return false;
		packet->src_port = udp->source;
		packet->dst_port = udp->dest;
		return true;
	case IPPROTO_SCTP:
		sctp = frame_transport(frame, packet, sizeof(*sctp));
		if (!sctp)
			return false;
		packet->src_port = sctp->src_port;
		packet->dst_port = sctp->dst_port;
		packet->sctp_chunk = sctp->chunk;
		packet->sctp_chunk_flags = sctp->chunk_flags;
		packet->sctp_tag = sctp->tag;
		if (sctp->chunk == SCTP_INIT || sctp->chunk == SCTP_INIT_ACK)
			packet->sctp_initiate_tag = frame_initiate_tag(frame, packet);
		return true;
	default:
		return false;
	}
}
