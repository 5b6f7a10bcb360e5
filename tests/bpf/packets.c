/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/packets.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"

#define PACKET_ID            0x1234
#define FRAGMENT_ID          0xabcd
#define FLOW_LABEL           0x12345
#define WINDOW               64240
#define IPV4_DONT_FRAGMENT   0x4000
#define IPV4_MORE_FRAGMENTS  0x2000
#define FRAGMENT_UNIT        8
#define FRAGMENT_HEADER_SIZE 8
#define TCP_NOP              1

static const __u8 near_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 1};
static const __u8 far_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 2};

struct peer peer(const char *addr, __u16 port)
{
	struct peer made = {.port = port};

	assert_int_equal(address_parse(addr, &made.addr), 0);
	return made;
}

static bool spec_is_ipv4(const struct packet_spec *spec)
{
	return address_is_ipv4(&spec->src.addr);
}

static void *frame_add(struct frame *frame, const void *bytes, __u32 size)
{
	void *place = frame->bytes + frame->size;

	assert_true(frame->size + size <= sizeof(frame->bytes));
	if (bytes)
		memcpy(place, bytes, size);
	else
		memset(place, 0, size);
	frame->size += size;
	return place;
}

/* RFC 1071, over bytes as they are on the wire. */
static __u32 sum_bytes(__u32 sum, const __u8 *bytes, __u32 size)
{
	for (__u32 i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (__u32)bytes[i] << 8;
	return sum;
}

static __be16 sum_finish(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((__u16)~sum);
}

static __u32 sum_pseudo_header(const struct packet_spec *spec, __u32 size)
{
	__u32 skip = spec_is_ipv4(spec) ? 12 : 0;
	__u32 sum = sum_bytes(0, spec->src.addr.bytes + skip, 16 - skip);

	sum = sum_bytes(sum, spec->dst.addr.bytes + skip, 16 - skip);
	return sum + spec->proto + size;
}

static void add_payload(struct frame *segment, __u32 size)
{
	__u8 *bytes = frame_add(segment, NULL, size);

	for (__u32 i = 0; i < size; i++)
		bytes[i] = (__u8)(i * 7 + 1);
}

static void build_tcp(const struct packet_spec *spec, struct frame *segment)
{
	struct tcphdr header = {
		.source = htons(spec->src.port),
		.dest = htons(spec->dst.port),
		.seq = htonl(spec->seq),
		.ack_seq = htonl(spec->ack),
		.window = htons(spec->is_fresh ? 0 : WINDOW),
		.doff = (__u8)((sizeof(header) + spec->tcp_options) / 4) & 0xf,
	};
	struct tcphdr *placed;

	((__u8 *)&header)[13] = spec->tcp_flags;
	placed = frame_add(segment, &header, sizeof(header));
	memset(frame_add(segment, NULL, spec->tcp_options), TCP_NOP, spec->tcp_options);
	add_payload(segment, spec->payload);
	placed->check = sum_finish(
		sum_bytes(sum_pseudo_header(spec, segment->size), segment->bytes, segment->size));
}

static void build_udp(const struct packet_spec *spec, struct frame *segment)
{
	struct udphdr header = {
		.source = htons(spec->src.port),
		.dest = htons(spec->dst.port),
		.len = htons((__u16)(sizeof(header) + spec->payload)),
	};
	struct udphdr *placed = frame_add(segment, &header, sizeof(header));

	add_payload(segment, spec->payload);
	if (spec->no_checksum)
		return;
	placed->check = sum_finish(
		sum_bytes(sum_pseudo_header(spec, segment->size), segment->bytes, segment->size));
	if (!placed->check)
		placed->check = 0xffff;
}

__u32 crc32c(const __u8 *bytes, __u32 size)
{
	__u32 crc = 0xffffffff;

	for (__u32 i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

/* The initiate tag, which the other side's packets have to bear. */
static void sctp_ask_for_tag(struct frame *segment, __u32 payload)
{
	const __be32 tag = htonl(SCTP_TAG);

	if (payload >= sizeof(tag))
		memcpy(segment->bytes + segment->size - payload, &tag, sizeof(tag));
}

static void build_sctp(const struct packet_spec *spec, struct frame *segment)
{
	struct {
		__be16 source, dest;
		__be32 tag;
		__u8 checksum[4];
		__u8 chunk, flags;
		__be16 length;
	} header =
		{
			.source = htons(spec->src.port),
			.dest = htons(spec->dst.port),
			.tag = htonl(spec->seq),
			.chunk = spec->sctp_chunk,
			.length = htons((__u16)(4 + spec->payload)),
		},
	  *placed = frame_add(segment, &header, sizeof(header));
	__u32 crc;

	add_payload(segment, spec->payload);
	if (spec->sctp_chunk == SCTP_INIT || spec->sctp_chunk == SCTP_INIT_ACK)
		sctp_ask_for_tag(segment, spec->payload);
	if (spec->no_checksum)
		return;
	crc = crc32c(segment->bytes, segment->size);
	for (int i = 0; i < 4; i++)
		placed->checksum[i] = (__u8)(crc >> 8 * i);
}

static __u32 network_offset(const struct frame *frame)
{
	__u32 offset = 2 * ETH_ALEN;

	while (frame->bytes[offset] == 0x81 || frame->bytes[offset] == 0x88)
		offset += VLAN_TAG_SIZE;
	return offset + 2;
}

__u32 frame_transport(const struct frame *frame)
{
	__u32 offset = network_offset(frame);

	return offset + (frame->bytes[offset] >> 4 == 4 ? (frame->bytes[offset] & 0xf) * 4U
							: IPV6_HEADER_SIZE);
}

static void build_icmp(const struct packet_spec *spec, struct frame *segment)
{
	struct {
		__u8 type, code;
		__be16 checksum;
		__be32 rest;
	} header = {spec->icmp_type, spec->icmp_code, 0, htonl(spec->icmp_rest)}, *placed;
	__u32 sum = 0;

	placed = frame_add(segment, &header, sizeof(header));
	if (spec->quote) {
		__u32 start = network_offset(spec->quote);
		__u32 size = frame_transport(spec->quote) - start + spec->quote_transport;

		assert_true(start + size <= spec->quote->size);
		(void)frame_add(segment, spec->quote->bytes + start, size);
	}
	add_payload(segment, spec->payload);
	if (!spec_is_ipv4(spec))
		sum = sum_pseudo_header(spec, segment->size);
	placed->checksum = sum_finish(sum_bytes(sum, segment->bytes, segment->size));
}

static void build_transport(const struct packet_spec *spec, struct frame *segment)
{
	segment->size = 0;
	if (spec->proto == IPPROTO_TCP)
		build_tcp(spec, segment);
	else if (spec->proto == IPPROTO_UDP)
		build_udp(spec, segment);
	else if (spec->proto == IPPROTO_SCTP)
		build_sctp(spec, segment);
	else if (spec->proto == IPPROTO_ICMP || spec->proto == IPPROTO_ICMPV6)
		build_icmp(spec, segment);
	else
		add_payload(segment, spec->payload);
}

static void add_link(const struct packet_spec *spec, struct frame *frame)
{
	__be16 inner = htons(spec_is_ipv4(spec) ? ETH_P_IP : ETH_P_IPV6);

	if (spec->is_bare)
		return;
	(void)frame_add(frame, spec->is_returned ? near_mac : far_mac, ETH_ALEN);
	(void)frame_add(frame, spec->is_returned ? far_mac : near_mac, ETH_ALEN);
	for (int left = spec->tags; left; left--) {
		__be16 tag[] = {htons(left == 2 ? ETH_P_8021AD : ETH_P_8021Q),
				htons((__u16)(100 + left))};

		(void)frame_add(frame, tag, sizeof(tag));
	}
	(void)frame_add(frame, &inner, sizeof(inner));
}

static void add_ipv4(const struct packet_spec *spec, struct frame *frame, __u32 size, bool is_last)
{
	bool is_fragment = spec->cut_to != CUT_NOTHING;
	struct iphdr header = {
		.version = 4,
		.ihl = (__u8)((sizeof(header) + spec->ipv4_options) / 4) & 0xf,
		.tot_len = htons((__u16)(sizeof(header) + spec->ipv4_options + size)),
		.id = htons(spec->is_fresh ? 0 : PACKET_ID),
		.frag_off = htons(is_fragment      ? (__u16)(spec->cut_from / FRAGMENT_UNIT |
                                                        (is_last ? 0 : IPV4_MORE_FRAGMENTS))
				  : spec->is_fresh ? 0
						   : IPV4_DONT_FRAGMENT),
		.ttl = spec->ttl ? spec->ttl : TTL_DEFAULT,
		.protocol = spec->proto,
	};
	__u8 *placed;
	__be16 check;

	memcpy(&header.saddr, spec->src.addr.bytes + 12, sizeof(header.saddr));
	memcpy(&header.daddr, spec->dst.addr.bytes + 12, sizeof(header.daddr));
	placed = frame_add(frame, &header, sizeof(header));
	memset(frame_add(frame, NULL, spec->ipv4_options), 1, spec->ipv4_options);
	check = sum_finish(sum_bytes(0, placed, sizeof(header) + spec->ipv4_options));
	memcpy(placed + offsetof(struct iphdr, check), &check, sizeof(check));
}

/* The chain of extension headers; the fragment header comes last. */
static void add_extensions(const struct packet_spec *spec, struct frame *frame, bool is_last)
{
	for (int i = 0; i < EXTENSIONS_MAX && spec->extensions[i].size; i++) {
		const struct extension *extension = &spec->extensions[i], *next = extension + 1;
		__u8 *bytes = frame_add(frame, NULL, extension->size);

		bytes[0] = i + 1 < EXTENSIONS_MAX && next->size ? next->proto
			   : spec->cut_to                       ? IPPROTO_FRAGMENT
								: spec->proto;
		bytes[1] = (__u8)(extension->proto == IPPROTO_AH ? extension->size / 4 - 2
								 : extension->size / 8 - 1);
		bytes[3] = extension->segments_left;
	}
	if (spec->cut_to != CUT_NOTHING) {
		__be16 place = htons((__u16)(spec->cut_from | (is_last ? 0 : 1)));
		__u8 *bytes = frame_add(frame, NULL, FRAGMENT_HEADER_SIZE);

		bytes[0] = spec->proto;
		memcpy(bytes + 2, &place, sizeof(place));
		bytes[7] = (__u8)FRAGMENT_ID;
	}
}

static void add_ipv6(const struct packet_spec *spec, struct frame *frame, __u32 size, bool is_last)
{
	struct frame extensions = {};
	struct ipv6hdr header = {
		.version = 6,
		.nexthdr = spec->proto,
		.hop_limit = spec->ttl ? spec->ttl : TTL_DEFAULT,
	};

	add_extensions(spec, &extensions, is_last);
	if (spec->extensions[0].size)
		header.nexthdr = spec->extensions[0].proto;
	else if (spec->cut_to != CUT_NOTHING)
		header.nexthdr = IPPROTO_FRAGMENT;
	if (!spec->is_fresh) {
		header.flow_lbl[0] = FLOW_LABEL >> 16;
		header.flow_lbl[1] = (__u8)(FLOW_LABEL >> 8);
		header.flow_lbl[2] = (__u8)FLOW_LABEL;
	}
	header.payload_len = htons((__u16)(extensions.size + size));
	memcpy(&header.saddr, spec->src.addr.bytes, sizeof(header.saddr));
	memcpy(&header.daddr, spec->dst.addr.bytes, sizeof(header.daddr));
	(void)frame_add(frame, &header, sizeof(header));
	(void)frame_add(frame, extensions.bytes, extensions.size);
}

struct frame packet_build(const struct packet_spec *spec)
{
	__u32 from = 0, to;
	struct frame segment, frame;

	frame.size = 0;
	build_transport(spec, &segment);
	to = segment.size;
	if (spec->cut_to != CUT_NOTHING) {
		from = spec->cut_from;
		to = spec->cut_to < segment.size ? spec->cut_to : segment.size;
	}
	add_link(spec, &frame);
	if (spec_is_ipv4(spec))
		add_ipv4(spec, &frame, to - from, to == segment.size);
	else
		add_ipv6(spec, &frame, to - from, to == segment.size);
	(void)frame_add(&frame, segment.bytes + from, to - from);
	return frame;
}

struct frame frame_cut(const struct frame *frame, __u32 size)
{
	struct frame cut = *frame;

	cut.size = size;
	return cut;
}

static void frame_print(const char *name, const struct frame *frame)
{
	fprintf(stderr, "# %s, %u bytes:", name, frame->size);
	for (__u32 i = 0; i < frame->size; i++)
		fprintf(stderr, "%s%02x", i % 16 ? " " : "\n#   ", frame->bytes[i]);
	fputc('\n', stderr);
}

bool frame_equal(const struct frame *actual, const struct frame *expected)
{
	__u32 at = 0;

	if (actual->size == expected->size && !memcmp(actual->bytes, expected->bytes, actual->size))
		return true;
	frame_print("packet", actual);
	frame_print("expected", expected);
	while (at < actual->size && at < expected->size && actual->bytes[at] == expected->bytes[at])
		at++;
	fprintf(stderr, "# they differ at byte %u\n", at);
	return false;
}
