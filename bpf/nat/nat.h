/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Rewrites addresses and ports in an skb and corrects checksums incrementally (RFC 1624). The
 * helpers used here also handle checksums that the hardware has yet to finish.
 */

#include "packet/checksum.h"
#include "packet/packet.h"
#include "nat/rewrite.h"

static __always_inline int nat_write_ipv4(struct __sk_buff *skb, __u32 l3_offset,
					  const struct rewrite *rewrite, __s64 difference)
{
	__be32 addrs[2] = {address_ipv4(&rewrite->src), address_ipv4(&rewrite->dst)};

	if (bpf_l3_csum_replace(skb, l3_offset + offsetof(struct iphdr, check), 0, difference, 0))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_store_bytes(skb, l3_offset + offsetof(struct iphdr, saddr), addrs,
				sizeof(addrs), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/*
 * If the hardware summed the whole packet, BPF_F_RECOMPUTE_CSUM keeps skb->csum right. The flag
 * must be left out if a checksum in the packet compensates for the change, unless the helper that
 * corrects that checksum also updates skb->csum (BPF_F_PSEUDO_HDR).
 */
static __always_inline int nat_write_ipv6(struct __sk_buff *skb, __u32 l3_offset,
					  const struct rewrite *rewrite, __u64 flags)
{
	if (bpf_skb_store_bytes(skb, l3_offset + offsetof(struct ipv6hdr, saddr), &rewrite->src,
				ADDRESS_PAIR_SIZE, flags))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/* The checksum difference between the packet's addresses and the rewritten ones. */
static __always_inline __s64 nat_address_difference(const struct packet *packet,
						    const struct rewrite *rewrite)
{
	return bpf_csum_diff((__be32 *)&packet->src, ADDRESS_PAIR_SIZE, (__be32 *)&rewrite->src,
			     ADDRESS_PAIR_SIZE, 0);
}

/*
 * Finds the checksum's offset in the transport header, and the flags its protocol needs; false if
 * the protocol is neither TCP nor UDP.
 */
static __always_inline bool transport_checksum(__u8 proto, __u32 *ret_offset, __u64 *ret_flags)
{
	switch (proto) {
	case IPPROTO_TCP:
		*ret_offset = offsetof(struct tcphdr, check);
		*ret_flags = 0;
		return true;
	case IPPROTO_UDP:
		*ret_offset = offsetof(struct udphdr, check);
		*ret_flags = BPF_F_MARK_MANGLED_0; /* zero: the sender computed none (RFC 768) */
		return true;
	default:
		return false;
	}
}

/*
 * Writes SCTP's ports and corrects its checksum if they change. The correction depends on how many
 * bytes follow the ports. The first fragment of a packet shows the total only if its chunk
 * continues in the next fragment. Otherwise the packet is dropped, as it would be later for its
 * wrong checksum.
 *
 * Fragments are common where the path MTU is smaller than the client's link MTU: SCTP never splits
 * a chunk again, but retransmits it in IP fragments once it has learnt that it was too big.
 */
static __always_inline int nat_write_sctp(struct __sk_buff *skb, const struct packet *packet,
					  const struct rewrite *rewrite)
{
	__be16 ports[2] = {rewrite->src_port, rewrite->dst_port};
	struct sctp_header header;
	__u32 old_ports, new_ports, bytes;

	if (packet_load(skb, packet->l4_offset, &header, sizeof(header)))
		return -COUNTER_DROP_REWRITE;
	__builtin_memcpy(&old_ports, &header, sizeof(old_ports));
	__builtin_memcpy(&new_ports, ports, sizeof(new_ports));
	if (old_ports == new_ports)
		return 0;
	bytes = packet_transport_size(skb, packet);
	if (packet->fragment != FRAGMENT_NONE) {
		bytes = sctp_whole_size(&header, bytes);
		if (!bytes)
			return -COUNTER_DROP_FRAGMENT;
	}
	header.src_port = ports[0];
	header.dst_port = ports[1];
	header.checksum = sctp_checksum_correct(old_ports, new_ports, header.checksum, bytes);
	/*
	 * The chunk behind the common header is not written: in a GSO packet the kernel keeps only
	 * the common header in front of the list of segments, and a store beyond it would pull the
	 * first segment out of that list.
	 */
	return bpf_skb_store_bytes(skb, packet->l4_offset, &header, SCTP_COMMON_HEADER_SIZE,
				   BPF_F_RECOMPUTE_CSUM)
		       ? -COUNTER_DROP_REWRITE
		       : 0;
}

static __always_inline int nat_write_transport(struct __sk_buff *skb, const struct packet *packet,
					       const struct rewrite *rewrite, __s64 difference)
{
	__be16 ports[2] = {rewrite->src_port, rewrite->dst_port};
	__be32 old_ports, new_ports;
	__u32 checksum_offset;
	__u64 flags;

	if (packet->proto == IPPROTO_SCTP)
		return nat_write_sctp(skb, packet, rewrite);
	if (!transport_checksum(packet->proto, &checksum_offset, &flags))
		return 0;
	checksum_offset += packet->l4_offset;
	if (bpf_l4_csum_replace(skb, checksum_offset, 0, difference, flags | BPF_F_PSEUDO_HDR))
		return -COUNTER_DROP_REWRITE;
	old_ports = (__be32)packet->src_port | (__be32)packet->dst_port << 16;
	new_ports = (__be32)ports[0] | (__be32)ports[1] << 16;
	if (old_ports == new_ports)
		return 0;
	if (bpf_l4_csum_replace(skb, checksum_offset, old_ports, new_ports,
				flags | sizeof(old_ports)))
		return -COUNTER_DROP_REWRITE;
	if (bpf_skb_store_bytes(skb, packet->l4_offset, ports, sizeof(ports), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/* Rewrites the packet's addresses and ports. Returns 0 or -COUNTER_DROP_... */
static __noinline int nat_rewrite(struct __sk_buff *skb, const struct packet *packet,
				  const struct rewrite *rewrite)
{
	__s64 difference = nat_address_difference(packet, rewrite);
	int err;

	if (packet->family == FAMILY_IPV4)
		err = nat_write_ipv4(skb, packet->l3_offset, rewrite, difference);
	else
		err = nat_write_ipv6(skb, packet->l3_offset, rewrite, BPF_F_RECOMPUTE_CSUM);
	if (err || packet->fragment == FRAGMENT_LATER)
		return err;
	return nat_write_transport(skb, packet, rewrite, difference);
}

/* Decrements the TTL of a packet that bypasses the stack, which would do so (RFC 1812, 5.3.1). */
static __always_inline int nat_decrement_ttl(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 ttl = packet->ttl - 1;

	if (packet->ttl <= 1)
		return -COUNTER_DROP_TTL;
	if (packet->family == FAMILY_IPV6)
		return bpf_skb_store_bytes(skb,
					   packet->l3_offset + offsetof(struct ipv6hdr, hop_limit),
					   &ttl, sizeof(ttl), BPF_F_RECOMPUTE_CSUM)
			       ? -COUNTER_DROP_REWRITE
			       : 0;
	/*
	 * The TTL is the high byte of its 16-bit word; only the difference of the two words
	 * matters.
	 */
	if (bpf_l3_csum_replace(skb, packet->l3_offset + offsetof(struct iphdr, check),
				bpf_htons((__u16)packet->ttl << 8), bpf_htons((__u16)ttl << 8),
				sizeof(__u16)) ||
	    bpf_skb_store_bytes(skb, packet->l3_offset + offsetof(struct iphdr, ttl), &ttl,
				sizeof(ttl), 0))
		return -COUNTER_DROP_REWRITE;
	return 0;
}
