/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Refusals and other answers: the packet is turned into its own answer and sent back. TCP is
 * refused with a RST, on which a client reacts at once (an ICMP error costs it a second);
 * everything else with an ICMP port unreachable. A packet that cannot be forwarded gets a router's
 * ICMP error, whatever its protocol. A rate limit per CPU and kind of answer keeps us from
 * answering a flood.
 */

#include "packet/checksum.h"
#include "counter.h"
#include "flow/flow.h"
#include "send/forward.h"
#include "packet/packet.h"

#define ANSWER_TTL 64

static __always_inline bool answer_is_allowed(enum answer_kind kind)
{
	__u32 index = kind, now_s = now_seconds();
	struct reject_budget *budget = bpf_map_lookup_elem(&reject_budget, &index);

	if (!budget)
		return false;
	if (budget->second != now_s) {
		budget->second = now_s;
		budget->left = config.rejects_per_second;
	}
	if (!budget->left)
		return false;
	budget->left--;
	return true;
}

/*
 * The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1); it is the same in both directions. A
 * mapped address sums to its IPv4 address, because 0xffff, the prefix, is zero in one's complement.
 */
static __always_inline __u64 pseudo_header_sum(const struct packet *packet,
					       const struct ip_addr *from, __u8 proto, __u16 length)
{
	return (__u64)(__u32)bpf_csum_diff(NULL, 0, (__be32 *)&packet->src, sizeof(packet->src),
					   0) +
	       (__u32)bpf_csum_diff(NULL, 0, (__be32 *)from, sizeof(*from), 0) + bpf_htons(proto) +
	       bpf_htons(length);
}

/* Writes a new IPv4 header, from `from` to the packet's source. */
static __always_inline int answer_write_ipv4(struct __sk_buff *skb, const struct packet *packet,
					     const struct ip_addr *from, __u8 proto,
					     __u16 payload_size, struct iphdr *header)
{
	__builtin_memset(header, 0, sizeof(*header));
	header->version = 4;
	header->ihl = sizeof(*header) / 4;
	header->tot_len = bpf_htons(sizeof(*header) + payload_size);
	header->ttl = ANSWER_TTL;
	header->protocol = proto;
	header->saddr = address_ipv4(from);
	header->daddr = address_ipv4(&packet->src);
	header->check =
		~checksum_fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)header, sizeof(*header), 0));
	return bpf_skb_store_bytes(skb, packet->l3_offset, header, sizeof(*header),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int answer_write_ipv6(struct __sk_buff *skb, const struct packet *packet,
					     const struct ip_addr *from, __u8 proto,
					     __u16 payload_size, struct ipv6hdr *header)
{
	__builtin_memset(header, 0, sizeof(*header));
	header->version = 6;
	header->payload_len = bpf_htons(payload_size);
	header->nexthdr = proto;
	header->hop_limit = ANSWER_TTL;
	__builtin_memcpy(&header->saddr, from->bytes, sizeof(header->saddr));
	__builtin_memcpy(&header->daddr, packet->src.bytes, sizeof(header->daddr));
	return bpf_skb_store_bytes(skb, packet->l3_offset, header, sizeof(*header),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int answer_write_network(struct __sk_buff *skb, const struct packet *packet,
						const struct ip_addr *from, __u8 proto,
						__u16 payload_size)
{
	struct scratch *scratch = scratch_get();
	int err;

	if (!scratch)
		return -COUNTER_DROP_REWRITE;
	err = packet->family == FAMILY_IPV4 ? answer_write_ipv4(skb, packet, from, proto,
								payload_size, &scratch->outer.ipv4)
					    : answer_write_ipv6(skb, packet, from, proto,
								payload_size, &scratch->outer.ipv6);
	return err ? -COUNTER_DROP_REWRITE : 0;
}

static __always_inline __u32 network_header_size(const struct packet *packet)
{
	return packet->family == FAMILY_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* The amount of sequence space that the segment occupies (RFC 9293, 3.10.7.1). */
static __always_inline __u32 segment_length(struct __sk_buff *skb, const struct packet *packet,
					    const struct tcphdr *tcp)
{
	return packet_transport_size(skb, packet) - tcp->doff * 4 + tcp->syn + tcp->fin;
}

static __always_inline void reset_fill(const struct tcphdr *segment, __u32 length,
				       struct tcphdr *ret_reset)
{
	__builtin_memset(ret_reset, 0, sizeof(*ret_reset));
	ret_reset->source = segment->dest;
	ret_reset->dest = segment->source;
	ret_reset->doff = sizeof(*ret_reset) / 4;
	ret_reset->rst = 1;
	if (segment->ack) {
		ret_reset->seq = segment->ack_seq;
	} else {
		ret_reset->ack = 1;
		ret_reset->ack_seq = bpf_htonl(bpf_ntohl(segment->seq) + length);
	}
}

/* Turns a segment into the RST that answers it. */
static __noinline int reject_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 size = network_header_size(packet);
	struct tcphdr segment, reset;
	bool is_partial;
	__u64 sum;

	if (packet->fragment != FRAGMENT_NONE ||
	    bpf_skb_load_bytes(skb, packet->l4_offset, &segment, sizeof(segment)))
		return -COUNTER_DROP_REWRITE;
	reset_fill(&segment, segment_length(skb, packet, &segment), &reset);
	is_partial = checksum_is_partial(skb, packet->l4_offset + offsetof(struct tcphdr, check));
	sum = pseudo_header_sum(packet, &packet->dst, IPPROTO_TCP, sizeof(reset));
	if (is_partial)
		reset.check = checksum_fold(sum);
	else
		reset.check = ~checksum_fold(
			sum + (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&reset, sizeof(reset), 0));
	if (bpf_skb_change_tail(skb, packet->l3_offset + size + sizeof(reset), 0))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_store_bytes(skb, packet->l3_offset + size, &reset, sizeof(reset),
				BPF_F_RECOMPUTE_CSUM))
		return -COUNTER_DROP_REWRITE;
	return answer_write_network(skb, packet, &packet->dst, IPPROTO_TCP, sizeof(reset));
}

/*
 * How many bytes of the packet's transport header a quote includes: at least the ports (RFC 792).
 * It includes TCP's whole fixed header and SCTP's common header, because a checksum that is still
 * to be finished must not be cut off; but never bytes beyond the packet's end, where the link may
 * have padded the frame.
 */
static __noinline __u16 quoted_transport(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 end = packet_end(skb, packet), wanted = sizeof(struct udphdr);

	if (packet->proto == IPPROTO_TCP)
		wanted = sizeof(struct tcphdr);
	else if (packet->proto == IPPROTO_SCTP)
		wanted = offsetof(struct sctp_header, chunk);
	if (packet->l4_offset + wanted <= end)
		return wanted;
	return packet->l4_offset < end ? end - packet->l4_offset : 0;
}

#define QUOTE_WORDS_MAX 40

/*
 * The sum of the quote. A correct IPv4 header sums to zero, so for IPv4 only the bytes after it are
 * summed; an IPv6 header has no checksum. If the transport checksum is unfinished, finishing it
 * will make the transport part sum to the complement of the field's present value.
 */
static __always_inline __u64 quote_sum(struct __sk_buff *skb, const struct packet *packet,
				       __u32 end, bool is_partial, __u16 unfinished)
{
	__u32 offset = packet->family == FAMILY_IPV4 ? packet->l4_offset : packet->l3_offset;
	__u64 sum = is_partial ? (__u16)~unfinished : 0;
	__u32 word;

	for (int i = 0; i < QUOTE_WORDS_MAX && offset < end; i++, offset += sizeof(word)) {
		if (bpf_skb_load_bytes(skb, offset, &word, sizeof(word)))
			break;
		sum += word;
	}
	return sum;
}

/* Turns the packet into an ICMP error that quotes its first bytes. */
static __noinline int answer_icmp(struct __sk_buff *skb, const struct packet *packet,
				  const struct icmp_answer *answer)
{
	__u32 quote_size = packet->l4_offset - packet->l3_offset + answer->quoted;
	__u32 room = network_header_size(packet) + sizeof(struct icmp_header);
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	struct icmp_header icmp = {
		.type = answer->type,
		.code = answer->code,
		.rest = answer->rest,
	};
	bool is_partial = false;
	__u32 checksum_offset;
	__u16 unfinished = 0;
	__u64 flags, sum;

	if (quote_size > QUOTE_WORDS_MAX * sizeof(__u32))
		return -COUNTER_DROP_REWRITE;
	if (packet->fragment != FRAGMENT_LATER &&
	    transport_checksum(packet->proto, &checksum_offset, &flags) &&
	    !bpf_skb_load_bytes(skb, packet->l4_offset + checksum_offset, &unfinished,
				sizeof(unfinished)))
		is_partial = checksum_is_partial(skb, packet->l4_offset + checksum_offset);
	/*
	 * Set the size first: round it up to whole words for the sum; the kernel zeroes the added
	 * bytes.
	 */
	if (bpf_skb_change_tail(skb, packet->l3_offset + quote_size, 0) ||
	    (quote_size & 3 &&
	     bpf_skb_change_tail(skb, packet->l3_offset + (quote_size | 3) + 1, 0)))
		return -COUNTER_DROP_REWRITE;
	sum = quote_sum(skb, packet,
			is_partial ? packet->l4_offset : packet->l3_offset + quote_size, is_partial,
			unfinished) +
	      bpf_htons(icmp.type << 8 | icmp.code) + (__u64)icmp.rest;
	if (!is_ipv4)
		sum += pseudo_header_sum(packet, &answer->from, IPPROTO_ICMPV6,
					 sizeof(icmp) + quote_size);
	icmp.checksum = ~checksum_fold(sum);
	if (quote_size & 3 && bpf_skb_change_tail(skb, packet->l3_offset + quote_size, 0))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_store_bytes(skb, packet->l3_offset + network_header_size(packet), &icmp,
				sizeof(icmp), BPF_F_RECOMPUTE_CSUM))
		return -COUNTER_DROP_REWRITE;
	return answer_write_network(skb, packet, &answer->from,
				    is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				    sizeof(icmp) + quote_size);
}

static __always_inline int reject_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	struct scratch *scratch = scratch_get();

	if (!scratch)
		return -COUNTER_DROP_REWRITE;
	scratch->answer = (struct icmp_answer){
		.type = is_ipv4 ? ICMP_DESTINATION_UNREACHABLE : ICMPV6_DESTINATION_UNREACHABLE,
		.code = is_ipv4 ? ICMP_PORT_UNREACHABLE : ICMPV6_PORT_UNREACHABLE,
		.quoted = quoted_transport(skb, packet),
		.from = packet->dst,
	};
	return answer_icmp(skb, packet, &scratch->answer);
}

/*
 * Sends an answer back and counts it under `reason`; if the answer could not be made, drops the
 * packet and counts it under the error.
 */
static __always_inline enum verdict answer_send(struct __sk_buff *skb, const struct hook *hook,
						__u32 size, int err, enum counter_reason reason)
{
	enum verdict verdict = err ? verdict_of(err) : forward_back(skb, hook);

	if (verdict_is_given_up(verdict)) {
		counter_add(verdict_reason(verdict), size);
		return VERDICT_DROPPED;
	}
	counter_add(reason, size);
	return verdict;
}

/*
 * Sends the packet's sender the error of a router that cannot forward it. Counts `reason` even if
 * no error may be sent (RFC 1122, 3.2.2).
 */
static __always_inline enum verdict answer_error(struct __sk_buff *skb, const struct packet *packet,
						 const struct hook *hook,
						 const struct icmp_answer *answer,
						 enum counter_reason reason)
{
	__u32 size = skb->len;

	if (packet->fragment == FRAGMENT_LATER || packet_is_icmp(packet)) {
		counter_add(reason, size);
		return VERDICT_DROPPED;
	}
	if (!answer_is_allowed(ANSWER_ERROR)) {
		counter_add(COUNTER_DROP_REJECT_LIMIT, size);
		return VERDICT_DROPPED;
	}
	return answer_send(skb, hook, size, answer_icmp(skb, packet, answer), reason);
}

/*
 * Refuses a packet and counts `reason`. If a refusal may not or cannot be sent, the packet is
 * dropped; the rate limit and failures are counted under their own reasons.
 */
static __noinline enum verdict reject(struct __sk_buff *skb, const struct packet *packet,
				      const struct hook *hook, enum counter_reason reason)
{
	__u32 size = skb->len;

	/*
	 * A RST is never answered (RFC 9293, 3.10.7.1), nor is a fragment other than the first (RFC
	 * 1122).
	 */
	if ((packet->proto == IPPROTO_TCP && packet->tcp_flags & TCP_RST) ||
	    packet->fragment == FRAGMENT_LATER) {
		counter_add(reason, size);
		return VERDICT_DROPPED;
	}
	if (!answer_is_allowed(ANSWER_REFUSAL)) {
		counter_add(COUNTER_DROP_REJECT_LIMIT, size);
		return VERDICT_DROPPED;
	}
	return answer_send(skb, hook, size,
			   packet->proto == IPPROTO_TCP ? reject_tcp(skb, packet)
							: reject_icmp(skb, packet),
			   reason);
}
