/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_packet.h"

#include <arpa/inet.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "base/address.h"

#define TTL             64
#define SCTP_CHUNK_INIT 1
#define SCTP_CHUNK_DATA 0

struct sctp_packet {
	__be16 src_port, dst_port;
	__be32 tag, checksum;
	__u8 chunk, flags;
	__be16 length;
};

static void frame_append(struct test_frame *frame, const void *header, size_t size)
{
	memcpy(frame->bytes + frame->size, header, size);
	frame->size += (__u32)size;
}

static void frame_append_tcp(struct test_frame *frame, const struct flow_key *tuple, bool opens)
{
	struct tcphdr header = {
		.source = tuple->src_port,
		.dest = tuple->dst_port,
		.seq = htonl(1),
		.doff = sizeof(header) / 4,
		.syn = opens,
		.ack = !opens,
		.window = htons(65535),
	};

	frame_append(frame, &header, sizeof(header));
}

static void frame_append_udp(struct test_frame *frame, const struct flow_key *tuple)
{
	struct udphdr header = {
		.source = tuple->src_port,
		.dest = tuple->dst_port,
		.len = htons(sizeof(header)),
	};

	frame_append(frame, &header, sizeof(header));
}

static void frame_append_sctp(struct test_frame *frame, const struct flow_key *tuple, bool opens)
{
	struct sctp_packet packet = {
		.src_port = tuple->src_port,
		.dst_port = tuple->dst_port,
		.chunk = opens ? SCTP_CHUNK_INIT : SCTP_CHUNK_DATA,
		.length = htons(4),
	};

	frame_append(frame, &packet, sizeof(packet));
}

static void frame_append_transport(struct test_frame *frame, const struct flow_key *tuple,
				   bool opens)
{
	const __u8 echo[8] = {address_is_ipv4(&tuple->dst) ? ICMP_ECHO : ICMPV6_ECHO_REQUEST};

	switch (tuple->proto) {
	case IPPROTO_TCP:
		frame_append_tcp(frame, tuple, opens);
		break;
	case IPPROTO_UDP:
		frame_append_udp(frame, tuple);
		break;
	case IPPROTO_SCTP:
		frame_append_sctp(frame, tuple, opens);
		break;
	default:
		frame_append(frame, echo, sizeof(echo));
	}
}

/* The checksum of a header in the frame (RFC 1071). */
static __be16 frame_checksum(const struct test_frame *frame, size_t offset, size_t size)
{
	__u32 sum = 0;

	for (size_t i = offset; i < offset + size; i += 2)
		sum += (__u32)frame->bytes[i] << 8 | frame->bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((__u16)~sum);
}

static void frame_write_ipv4(struct test_frame *frame, const struct flow_key *tuple)
{
	struct iphdr header = {
		.version = 4,
		.ihl = sizeof(header) / 4,
		.tot_len = htons((__u16)(frame->size - ETH_HLEN)),
		.ttl = TTL,
		.protocol = tuple->proto,
	};
	__be16 check;

	memcpy(&header.saddr, tuple->src.bytes + 12, sizeof(header.saddr));
	memcpy(&header.daddr, tuple->dst.bytes + 12, sizeof(header.daddr));
	memcpy(frame->bytes + ETH_HLEN, &header, sizeof(header));
	check = frame_checksum(frame, ETH_HLEN, sizeof(header));
	memcpy(frame->bytes + ETH_HLEN + offsetof(struct iphdr, check), &check, sizeof(check));
}

static void frame_write_ipv6(struct test_frame *frame, const struct flow_key *tuple)
{
	struct ipv6hdr header = {
		.version = 6,
		.payload_len = htons((__u16)(frame->size - ETH_HLEN - sizeof(header))),
		.nexthdr = tuple->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : tuple->proto,
		.hop_limit = TTL,
	};

	memcpy(&header.saddr, tuple->src.bytes, sizeof(header.saddr));
	memcpy(&header.daddr, tuple->dst.bytes, sizeof(header.daddr));
	memcpy(frame->bytes + ETH_HLEN, &header, sizeof(header));
}

struct test_frame test_frame_build(const struct flow_key *tuple, bool opens, const __u8 mac[6])
{
	bool is_ipv4 = address_is_ipv4(&tuple->dst);
	struct ethhdr link = {.h_proto = htons(is_ipv4 ? ETH_P_IP : ETH_P_IPV6)};
	struct test_frame frame = {0};

	memcpy(link.h_dest, mac, sizeof(link.h_dest));
	frame_append(&frame, &link, sizeof(link));
	frame.size += is_ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	frame_append_transport(&frame, tuple, opens);
	if (is_ipv4)
		frame_write_ipv4(&frame, tuple);
	else
		frame_write_ipv6(&frame, tuple);
	return frame;
}

bool test_frame_addresses(const struct test_frame *frame, struct ip_addr *ret_src,
			  struct ip_addr *ret_dst)
{
	const __u8 *network = frame->bytes + ETH_HLEN;
	__be32 src, dst;

	if (frame->size >= ETH_HLEN + sizeof(struct iphdr) && *network >> 4 == 4) {
		memcpy(&src, network + offsetof(struct iphdr, saddr), sizeof(src));
		memcpy(&dst, network + offsetof(struct iphdr, daddr), sizeof(dst));
		*ret_src = address_from_ipv4(src);
		*ret_dst = address_from_ipv4(dst);
		return true;
	}
	if (frame->size < ETH_HLEN + sizeof(struct ipv6hdr) || *network >> 4 != 6)
		return false;
	memcpy(ret_src->bytes, network + offsetof(struct ipv6hdr, saddr), sizeof(ret_src->bytes));
	memcpy(ret_dst->bytes, network + offsetof(struct ipv6hdr, daddr), sizeof(ret_dst->bytes));
	return true;
}
