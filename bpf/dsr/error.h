/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Direct server return: errors from routers about packets that this node has encapsulated. The
 * client must receive them about its own packet, with the MTU that is left for it.
 */

#include "dsr/encapsulation.h"
#include "send/icmp.h"
#include "send/reject.h"

/* The MTU in an error about a packet that was too big, else 0. */
static __always_inline __u32 error_mtu(struct __sk_buff *skb, const struct packet *packet)
{
	struct icmp_header icmp = {};

	if (packet_load(skb, packet->l4_offset, &icmp, sizeof(icmp)))
		return 0;
	if (packet->family == FAMILY_IPV6)
		return icmp.type == ICMPV6_PACKET_TOO_BIG ? bpf_ntohl(icmp.rest) : 0;
	return icmp.type == ICMP_DESTINATION_UNREACHABLE && icmp.code == ICMP_FRAGMENTATION_NEEDED
		       ? bpf_ntohl(icmp.rest) & 0xffff
		       : 0;
}

/*
 * Reads the header at `offset`, without IPv6 extensions; false if it and the ports behind it are
 * not all inside the error, which ends at `end`.
 */
static __always_inline bool quote_read(struct __sk_buff *skb, const struct packet *packet,
				       __u32 offset, __u32 end, struct packet *ret_quote)
{
	__builtin_memset(ret_quote, 0, sizeof(*ret_quote));
	return (packet->family == FAMILY_IPV4 ? packet_read_ipv4(skb, offset, ret_quote)
					      : packet_read_ipv6(skb, offset, ret_quote)) &&
	       ret_quote->l4_offset + QUOTED_PORTS_SIZE <= end;
}

/*
 * True if the quoted client's packet, which must include its ports, belongs to a flow with direct
 * server return.
 */
static __always_inline bool quote_is_of_dsr(struct __sk_buff *skb, struct icmp_scratch *icmp)
{
	struct packet *quote = &icmp->quote;
	bool is_confirmed;
	__be16 ports[2];

	if (quote->fragment == FRAGMENT_LATER || !proto_has_ports(quote->proto) ||
	    packet_load(skb, quote->l4_offset, ports, sizeof(ports)))
		return false;
	quote->src_port = ports[0];
	quote->dst_port = ports[1];
	packet_flow_key(quote, FLOW_ORIGINAL, &icmp->key);
	return flow_read(&icmp->key, &icmp->flow, &is_confirmed) && icmp->flow.flags & FLOW_DSR;
}

/*
 * Turns the error, by now cut down to the client's packet, into an error to the client and sends
 * it.
 */
static __always_inline enum verdict error_pass_on(struct __sk_buff *skb, const struct packet *quote,
						  const struct hook *hook, struct scratch *scratch,
						  __u32 mtu)
{
	bool is_ipv4 = quote->family == FAMILY_IPV4;
	int err;

	scratch->answer = (struct icmp_answer){
		.type = is_ipv4 ? ICMP_DESTINATION_UNREACHABLE : ICMPV6_PACKET_TOO_BIG,
		.code = is_ipv4 ? ICMP_FRAGMENTATION_NEEDED : 0,
		.quoted = quoted_transport(skb, quote),
		.rest = bpf_htonl(mtu),
		.from = scratch->rewrite.src,
	};
	if (!answer_is_allowed(ANSWER_ERROR))
		return verdict_give_up(COUNTER_DROP_REJECT_LIMIT);
	scratch->rewrite.dst = quote->src;
	scratch->rewrite.src_port = 0;
	scratch->rewrite.dst_port = 0;
	err = route_find(skb, quote, hook, &scratch->rewrite, &scratch->route);
	if (err)
		return verdict_of(err);
	err = answer_icmp(skb, quote, &scratch->answer);
	if (err)
		return verdict_of(err);
	counter_add(COUNTER_TOO_BIG, hook->size);
	return route_send(skb, &scratch->route, hook);
}

/*
 * Handles an ICMP error to this node: if a packet that this node encapsulated was too big for the
 * path, sends the client an error with the MTU that fits. Returns VERDICT_NEXT if the error is
 * about something else.
 */
static __noinline enum verdict dsr_error(struct __sk_buff *skb, const struct packet *packet,
					 const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	__u32 overhead, cut, end, mtu = error_mtu(skb, packet);
	struct packet *quote;

	if (!scratch || !node_address_of(packet->family, &scratch->rewrite.src))
		return VERDICT_NEXT;
	quote = &scratch->icmp.quote;
	overhead = encapsulation_size(packet->family);
	end = packet_end(skb, packet);
	if (mtu <= overhead || packet->l3_offset != hook->link_header_size ||
	    !quote_read(skb, packet, packet->l4_offset + ICMP_QUOTE_OFFSET, end, quote) ||
	    !packet_is_encapsulated(quote) || !address_equal(&quote->src, &scratch->rewrite.src))
		return VERDICT_NEXT;
	if (!quote_read(skb, packet, quote->l4_offset, end, quote) ||
	    !quote_is_of_dsr(skb, &scratch->icmp))
		return VERDICT_NEXT;
	cut = quote->l3_offset - packet->l3_offset;
	if (bpf_skb_adjust_room(skb, -(__s32)cut, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return verdict_give_up(COUNTER_DROP_REWRITE);
	quote->l3_offset -= cut;
	quote->l4_offset -= cut;
	return error_pass_on(skb, quote, hook, scratch, mtu - overhead);
}
