/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * ICMP. An error about a packet that we rewrote quotes the rewritten packet: so the quote is
 * translated back as well, otherwise the receiver cannot match the error to its socket. Path MTU
 * discovery through a frontend depends on this. Echo requests to a ClusterIP are answered directly
 * from the hook.
 */

#include "packet/extension.h"
#include "flow/flow.h"
#include "nat/nat.h"
#include "packet/packet.h"
#include "send/forward.h"
#include "send/reject.h"
#include "send/transit.h"

#define ICMP_QUOTE_OFFSET sizeof(struct icmp_header)
#define QUOTED_PORTS_SIZE (2 * sizeof(__be16))

/*
 * Reads the packet that an error quotes; at least its addresses and ports must be there. Bytes
 * after the error, beyond the end given by its IP header, are not part of the quote.
 */
static __noinline bool icmp_read_quote(struct __sk_buff *skb, const struct packet *packet,
				       struct icmp_scratch *ret_icmp)
{
	__u32 offset = packet->l4_offset + ICMP_QUOTE_OFFSET;
	struct packet *ret_quote = &ret_icmp->quote;
	__be16 ports[2];

	__builtin_memset(ret_quote, 0, sizeof(*ret_quote));
	if (packet->family == FAMILY_IPV4) {
		if (!packet_read_ipv4(skb, offset, ret_quote))
			return false;
	} else {
		if (!packet_read_ipv6(skb, offset, ret_quote) ||
		    !packet_skip_extensions(skb, ret_quote))
			return false;
	}
	if (ret_quote->fragment == FRAGMENT_LATER)
		return false;
	if (!proto_has_ports(ret_quote->proto))
		return false;
	ret_icmp->quote_end = packet_end(skb, packet);
	if (ret_quote->l4_offset + QUOTED_PORTS_SIZE > ret_icmp->quote_end ||
	    packet_load(skb, ret_quote->l4_offset, ports, sizeof(ports)))
		return false;
	ret_quote->src_port = ports[0];
	ret_quote->dst_port = ports[1];
	return true;
}

/*
 * Rewrites the quoted packet as icmp->inner says, and stores in `ret_change` how that changes
 * the sum of the ICMP message. The quote's own checksums are corrected if it is long enough to
 * contain them.
 */
static __always_inline int icmp_rewrite_quote(struct __sk_buff *skb,
					      const struct icmp_scratch *icmp, __u64 *ret_change)
{
	const struct rewrite *rewrite = &icmp->inner;
	const struct packet *quote = &icmp->quote;
	__u64 addresses_change = (__u32)nat_address_difference(quote, rewrite);
	__be16 ports[2] = {rewrite->src_port, rewrite->dst_port};
	__u64 ports_change =
		(__u64)ports[0] + ports[1] + (__u16)~quote->src_port + (__u16)~quote->dst_port;
	__u32 checksum_offset;
	__u16 checksum = 0;
	__u64 flags;
	int err;

	err = quote->family == FAMILY_IPV4
		      ? nat_write_ipv4(skb, quote->l3_offset, rewrite, addresses_change)
		      : nat_write_ipv6(skb, quote->l3_offset, rewrite, 0);
	if (err || bpf_skb_store_bytes(skb, quote->l4_offset, ports, sizeof(ports), 0))
		return -COUNTER_DROP_REWRITE;
	/* The sum over an IPv4 header does not change, because its checksum compensates. */
	*ret_change = ports_change + (quote->family == FAMILY_IPV4 ? 0 : addresses_change);
	if (!transport_checksum(quote->proto, &checksum_offset, &flags))
		return 0;
	checksum_offset += quote->l4_offset;
	if (checksum_offset + sizeof(checksum) > icmp->quote_end ||
	    packet_load(skb, checksum_offset, &checksum, sizeof(checksum)) || !checksum)
		return 0;
	*ret_change += (__u16)~checksum;
	checksum = ~checksum_fold((__u16)~checksum + addresses_change + ports_change);
	if (!checksum)
		checksum = 0xffff; /* an equal sum; zero would mean no checksum (RFC 768) */
	*ret_change += checksum;
	return bpf_skb_store_bytes(skb, checksum_offset, &checksum, sizeof(checksum), 0)
		       ? -COUNTER_DROP_REWRITE
		       : 0;
}

/*
 * The error's own new addresses. A router on the path keeps its address; the backend's becomes the
 * frontend's.
 */
static __always_inline void icmp_outer(const struct packet *packet, const struct packet *quote,
				       const struct flow *flow, struct rewrite *ret_outer)
{
	ret_outer->src = address_equal(&packet->src, &quote->dst) ? flow->new_src : packet->src;
	ret_outer->dst = address_equal(&packet->dst, &quote->src) ? flow->new_dst : packet->dst;
	ret_outer->src_port = 0;
	ret_outer->dst_port = 0;
}

/*
 * Rewrites the error: the quoted packet, the error's addresses, and its checksum for both changes.
 */
static __noinline int icmp_rewrite(struct __sk_buff *skb, const struct packet *packet,
				   struct icmp_scratch *icmp, const struct flow *flow,
				   const struct rewrite *outer)
{
	__u32 checksum_offset = packet->l4_offset + offsetof(struct icmp_header, checksum);
	__u64 outer_change = (__u32)nat_address_difference(packet, outer);
	__u64 change;
	int err;

	icmp->inner.src = flow->new_dst;
	icmp->inner.dst = flow->new_src;
	icmp->inner.src_port = flow->new_dst_port;
	icmp->inner.dst_port = flow->new_src_port;
	err = icmp_rewrite_quote(skb, icmp, &change);
	if (err)
		return err;
	err = packet->family == FAMILY_IPV4
		      ? nat_write_ipv4(skb, packet->l3_offset, outer, outer_change)
		      : nat_write_ipv6(skb, packet->l3_offset, outer, 0);
	if (err)
		return err;
	if (packet->family == FAMILY_IPV6)
		change += outer_change;
	return bpf_l4_csum_replace(skb, checksum_offset, 0, checksum_fold(change), 0)
		       ? -COUNTER_DROP_REWRITE
		       : 0;
}

/*
 * Looks up the flow of an error's quote, in the half whose packets travel in the error's direction.
 * Returns icmp->flow, or NULL if there is no flow.
 */
static __noinline const struct flow *icmp_find_flow(struct icmp_scratch *icmp,
						    enum flow_direction direction)
{
	bool is_confirmed;

	packet_flow_key_back(&icmp->quote, direction, &icmp->key);
	if (!flow_read(&icmp->key, &icmp->flow, &is_confirmed) ||
	    flow_is_expired(&icmp->flow, icmp->quote.proto, now_seconds()))
		return NULL;
	return &icmp->flow;
}

/*
 * Turns an echo request into its reply. Each fragment can be turned on its own, because nothing
 * else in it changes.
 */
static __noinline int icmp_answer_echo(struct __sk_buff *skb, const struct packet *packet)
{
	struct rewrite rewrite = {.src = packet->dst, .dst = packet->src};
	__u8 reply = packet->family == FAMILY_IPV4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	__u8 ttl = ANSWER_TTL;
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	int err;

	/* Swapping the two addresses leaves every checksum unchanged. */
	err = is_ipv4 ? nat_write_ipv4(skb, packet->l3_offset, &rewrite, 0)
		      : nat_write_ipv6(skb, packet->l3_offset, &rewrite, 0);
	if (err)
		return err;
	if (is_ipv4 && bpf_l3_csum_replace(skb, packet->l3_offset + offsetof(struct iphdr, check),
					   bpf_htons((__u16)packet->ttl << 8),
					   bpf_htons((__u16)ttl << 8), sizeof(__u16)))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_store_bytes(skb,
				packet->l3_offset + (is_ipv4 ? offsetof(struct iphdr, ttl)
							     : offsetof(struct ipv6hdr, hop_limit)),
				&ttl, sizeof(ttl), is_ipv4 ? 0 : BPF_F_RECOMPUTE_CSUM))
		return -COUNTER_DROP_REWRITE;
	if (packet->fragment == FRAGMENT_LATER)
		return 0;
	if (bpf_l4_csum_replace(skb, packet->l4_offset + offsetof(struct icmp_header, checksum),
				bpf_htons((__u16)packet->icmp_type << 8),
				bpf_htons((__u16)reply << 8), sizeof(__u16)) ||
	    bpf_skb_store_bytes(skb, packet->l4_offset, &reply, sizeof(reply), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/*
 * Handles ICMP to a VIP: errors from the client's side (or a hairpin's backend), and echo requests.
 */
static __noinline enum verdict icmp_to_vip(struct __sk_buff *skb, const struct packet *packet,
					   const struct address_info *address,
					   const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	enum verdict unknown;
	int err;

	if (packet->fragment == FRAGMENT_LATER ||
	    icmp_type_is_echo(packet->family, packet->icmp_type)) {
		if (!(address->flags & ADDRESS_CLUSTER_IP))
			return VERDICT_NEXT;
		err = icmp_answer_echo(skb, packet);
		if (err)
			return verdict_of(err);
		counter_add(COUNTER_ECHO_ANSWERED, hook->size);
		return forward_back(skb, hook);
	}
	unknown = address->flags & ADDRESS_CLUSTER_IP ? verdict_give_up(COUNTER_DROP_ICMP)
						      : VERDICT_NEXT;
	if (!icmp_type_is_error(packet->family, packet->icmp_type) || !scratch ||
	    !icmp_read_quote(skb, packet, &scratch->icmp))
		return unknown;
	if (icmp_find_flow(&scratch->icmp, FLOW_ORIGINAL) ||
	    icmp_find_flow(&scratch->icmp, FLOW_REPLY))
		return VERDICT_TRANSLATE_ERROR;
	return unknown;
}

/*
 * Handles an ICMP error about a packet to a backend: if the packet belongs to a flow, the error is
 * translated for the client, which knows only the frontend. Any router on the path may send such an
 * error.
 */
static __noinline enum verdict
icmp_error_about_flow(struct __sk_buff *skb, const struct packet *packet, const struct hook *hook)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !icmp_read_quote(skb, packet, &scratch->icmp) ||
	    !backend_may_have_flows(&scratch->icmp.quote.dst))
		return VERDICT_NEXT;
	return icmp_find_flow(&scratch->icmp, FLOW_REPLY) ? VERDICT_TRANSLATE_ERROR : VERDICT_NEXT;
}

/*
 * Translates an ICMP error about a packet of the flow in scratch->icmp, where icmp_find_flow() has
 * put it, and sends the error to the sender of the quoted packet, using the addresses that the
 * sender knows.
 */
static __noinline enum verdict icmp_error(struct __sk_buff *skb, const struct packet *packet,
					  struct scratch *scratch, const struct hook *hook)
{
	enum flow_direction direction = scratch->icmp.key.direction;
	const struct flow *flow = &scratch->icmp.flow;
	const struct packet *quote = &scratch->icmp.quote;
	bool is_from_backend = address_equal(&packet->src, &quote->dst);
	bool is_routed = flow->flags & FLOW_SOURCE_NAT;
	int err;

	if (flow->flags & FLOW_DSR) /* its backend's node knows both sides of it */
		return VERDICT_ENCAPSULATE;
	icmp_outer(packet, quote, flow, &scratch->rewrite);
	if (is_routed) {
		scratch->route.overhead = 0;
		scratch->route.is_answer = true;
		err = transit_route(skb, packet, hook, &scratch->rewrite, &scratch->route);
		if (err)
			return verdict_of(err);
	}
	err = icmp_rewrite(skb, packet, &scratch->icmp, flow, &scratch->rewrite);
	if (err)
		return verdict_of(err);
	counter_add(COUNTER_ICMP_TRANSLATED, hook->size);
	if (is_routed)
		return transit_send(skb, packet, &scratch->route, hook);
	if (flow->flags & FLOW_LOCAL_CLIENT)
		return direction == FLOW_REPLY && is_from_backend
			       ? forward_to_local_client(skb, flow, hook)
			       : VERDICT_DONE;
	return flow->flags & FLOW_HAIRPIN ? forward_back(skb, hook) : VERDICT_DONE;
}
