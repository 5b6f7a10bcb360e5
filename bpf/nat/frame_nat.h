/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Rewrites frames in place. Whether a frame can be rewritten is checked first, so it is either
 * translated in full and sent on, or passed up to TC unchanged.
 */

#include "packet/checksum.h"
#include "nat/rewrite.h"
#include "packet/frame.h"

/* The change of an Internet checksum when a word is replaced (RFC 1624, 3). */
static __always_inline __u64 word_difference(__u32 before, __u32 after)
{
	return (__u64)(__u32)~before + after;
}

static __always_inline __u64 address_difference(const struct ip_addr *before,
						const struct ip_addr *after)
{
	const __u32 *old = address_words_const(before);
	const __u32 *new = address_words_const(after);

	return word_difference(old[0], new[0]) + word_difference(old[1], new[1]) +
	       word_difference(old[2], new[2]) + word_difference(old[3], new[3]);
}

static __always_inline __u16 checksum_replace(__u16 checksum, __u64 difference)
{
	return (__u16)~checksum_fold(difference + (__u16)~checksum);
}

static __always_inline __u64 address_sum(const struct ip_addr *addr, bool is_ipv4)
{
	const __u32 *words = address_words_const(addr);

	return is_ipv4 ? words[3] : (__u64)words[0] + words[1] + words[2] + words[3];
}

/* The number of bytes after the IP header, by the length that the header gives. */
static __always_inline __u32 frame_transport_size(const struct frame *frame,
						  const struct packet *packet)
{
	const struct ipv6hdr *ipv6 = frame->data + ETH_HLEN;
	const struct iphdr *ipv4 = frame->data + ETH_HLEN;

	if ((void *)(ipv4 + 1) > frame->end)
		return 0;
	if (packet->family == FAMILY_IPV4)
		return (__u32)bpf_ntohs(ipv4->tot_len) - sizeof(*ipv4);
	return (void *)(ipv6 + 1) > frame->end ? 0 : bpf_ntohs(ipv6->payload_len);
}

/*
 * True if the checksum may be unfinished: packets that a neighbour on the same machine sent over a
 * veth hold only the sum of the pseudo header there, and XDP cannot tell. One finished checksum in
 * 65536 looks the same by chance; TC then handles that packet correctly.
 */
static __always_inline bool checksum_may_be_partial(const struct frame *frame,
						    const struct packet *packet, __u16 checksum)
{
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	__u64 sum = address_sum(&packet->src, is_ipv4) + address_sum(&packet->dst, is_ipv4);

	sum += bpf_htons((__u16)packet->proto);
	sum += bpf_htons((__u16)frame_transport_size(frame, packet));
	return checksum_fold(sum) == checksum;
}

/* True if the frame's transport checksum can be corrected for a change. */
static __always_inline bool frame_is_translatable(const struct frame *frame,
						  const struct packet *packet)
{
	const struct sctp_header *sctp;
	const struct tcphdr *tcp;
	const struct udphdr *udp;

	switch (packet->proto) {
	case IPPROTO_TCP:
		tcp = frame_transport(frame, packet, sizeof(*tcp));
		return tcp && !checksum_may_be_partial(frame, packet, tcp->check);
	case IPPROTO_UDP:
		udp = frame_transport(frame, packet, sizeof(*udp));
		return udp && !checksum_may_be_partial(frame, packet, udp->check);
	case IPPROTO_SCTP: /* zero: absent, or left to the link */
		sctp = frame_transport(frame, packet, sizeof(*sctp));
		return sctp && sctp->checksum;
	default:
		return false;
	}
}

static __always_inline void frame_write_ipv4(struct iphdr *header, const struct rewrite *rewrite,
					     __u64 difference)
{
	__u16 *hops = (__u16 *)&header->ttl, before = *hops; /* with the protocol byte */

	header->saddr = address_ipv4(&rewrite->src);
	header->daddr = address_ipv4(&rewrite->dst);
	header->ttl--;
	header->check =
		checksum_replace(header->check, difference + word_difference(before, *hops));
}

static __always_inline void frame_write_ipv6(struct ipv6hdr *header, const struct rewrite *rewrite)
{
	__builtin_memcpy(&header->saddr, &rewrite->src, ADDRESS_PAIR_SIZE);
	header->hop_limit--;
}

static __always_inline bool frame_write_sctp(const struct frame *frame, const struct packet *packet,
					     __u32 old_ports, __u32 new_ports)
{
	struct sctp_header *sctp = frame_transport(frame, packet, sizeof(*sctp));

	if (!sctp)
		return false;
	__builtin_memcpy(sctp, &new_ports, sizeof(new_ports));
	if (old_ports != new_ports)
		sctp->checksum = sctp_checksum_correct(old_ports, new_ports, sctp->checksum,
						       frame_transport_size(frame, packet));
	return true;
}

static __always_inline bool frame_write_transport(const struct frame *frame,
						  const struct packet *packet,
						  const struct rewrite *rewrite, __u64 difference)
{
	__u32 old_ports = (__u32)packet->src_port | (__u32)packet->dst_port << 16;
	__u32 new_ports = (__u32)rewrite->src_port | (__u32)rewrite->dst_port << 16;
	struct tcphdr *tcp;
	struct udphdr *udp;

	difference += word_difference(old_ports, new_ports);
	switch (packet->proto) {
	case IPPROTO_TCP:
		tcp = frame_transport(frame, packet, sizeof(*tcp));
		if (!tcp)
			return false;
		tcp->source = rewrite->src_port;
		tcp->dest = rewrite->dst_port;
		tcp->check = checksum_replace(tcp->check, difference);
		return true;
	case IPPROTO_UDP:
		udp = frame_transport(frame, packet, sizeof(*udp));
		if (!udp)
			return false;
		udp->source = rewrite->src_port;
		udp->dest = rewrite->dst_port;
		if (!udp->check) /* the sender computed none (RFC 768) */
			return true;
		udp->check = checksum_replace(udp->check, difference);
		if (!udp->check)
			udp->check = 0xffff;
		return true;
	default:
		return frame_write_sctp(frame, packet, old_ports, new_ports);
	}
}

/*
 * Writes the new addresses and ports into a translatable frame and decrements its TTL. Returns
 * false if a header is missing, which the caller has already ruled out.
 */
static __noinline bool frame_translate(const struct xdp_md *xdp, const struct packet *packet,
				       const struct rewrite *rewrite)
{
	struct frame frame = frame_of(xdp);
	struct ipv6hdr *ipv6 = frame.data + ETH_HLEN;
	struct iphdr *ipv4 = frame.data + ETH_HLEN;
	__u64 difference = address_difference(&packet->src, &rewrite->src) +
			   address_difference(&packet->dst, &rewrite->dst);

	if (!frame_write_transport(&frame, packet, rewrite, difference))
		return false;
	if (packet->family == FAMILY_IPV4) {
		if ((void *)(ipv4 + 1) > frame.end)
			return false;
		frame_write_ipv4(ipv4, rewrite, difference);
	} else {
		if ((void *)(ipv6 + 1) > frame.end)
			return false;
		frame_write_ipv6(ipv6, rewrite);
	}
	return true;
}
