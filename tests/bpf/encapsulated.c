/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/encapsulated.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <string.h>

#include "base/address.h"

struct peer peer_at(struct peer peer, __u16 port)
{
	peer.port = port;
	return peer;
}

struct peer other_node(void)
{
	return peer(variant.family == FAMILY_IPV4 ? "192.168.0.2" : "fdee::2", 0);
}

struct peer stranger(void)
{
	return peer(variant.family == FAMILY_IPV4 ? "192.168.0.3" : "fdee::3", 0);
}

void given_cluster_node(struct peer node, __u32 value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.cluster_nodes), &node.addr,
					     &value, BPF_ANY),
			 0);
}

void given_nodes(void)
{
	struct link_source own = {};
	__u32 zero = 0;

	if (variant.family == FAMILY_IPV4)
		own.ipv4 = node(0).addr;
	else
		own.ipv6 = node(0).addr;
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(programs->maps.node_address), &zero, &own, BPF_ANY),
		0);
	given_cluster_node(node(0), CLUSTER_NODE_THIS);
	given_cluster_node(other_node(), CLUSTER_NODE_OTHER);
}

static __be16 header_sum(const void *header, __u32 size)
{
	const __u8 *bytes = header;
	__u32 sum = 0;

	for (__u32 i = 0; i < size; i += 2)
		sum += (__u32)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((__u16)~sum);
}

static __u32 outer_ipv4(struct peer from, struct peer backend, __u32 size, __u8 *place)
{
	struct iphdr header = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons((__u16)(sizeof(header) + size)),
		.id = htons(backend.port),
		.frag_off = htons(0x4000),
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
	};

	memcpy(&header.saddr, from.addr.bytes + 12, sizeof(header.saddr));
	memcpy(&header.daddr, backend.addr.bytes + 12, sizeof(header.daddr));
	header.check = header_sum(&header, sizeof(header));
	memcpy(place, &header, sizeof(header));
	return sizeof(header);
}

static __u32 outer_ipv6(struct peer from, struct peer backend, __u32 size, __u8 *place)
{
	struct ipv6hdr header = {
		.version = 6,
		.flow_lbl = {0, (__u8)(backend.port >> 8), (__u8)backend.port},
		.payload_len = htons((__u16)size),
		.nexthdr = IPPROTO_IPV6,
		.hop_limit = 64,
	};

	memcpy(&header.saddr, from.addr.bytes, sizeof(header.saddr));
	memcpy(&header.daddr, backend.addr.bytes, sizeof(header.daddr));
	memcpy(place, &header, sizeof(header));
	return sizeof(header);
}

struct frame encapsulated(struct frame inside, struct peer from, struct peer backend)
{
	__u32 size = inside.size - LINK_HEADER_SIZE;
	struct frame made = {};
	__u32 outer;

	memcpy(made.bytes, inside.bytes, LINK_HEADER_SIZE);
	outer = variant.family == FAMILY_IPV4
			? outer_ipv4(from, backend, size, made.bytes + LINK_HEADER_SIZE)
			: outer_ipv6(from, backend, size, made.bytes + LINK_HEADER_SIZE);
	assert_true(inside.size + outer <= sizeof(made.bytes));
	memcpy(made.bytes + LINK_HEADER_SIZE + outer, inside.bytes + LINK_HEADER_SIZE, size);
	made.size = inside.size + outer;
	return made;
}

struct frame asking(struct frame frame)
{
	__u8 *place = frame.bytes + LINK_HEADER_SIZE;
	struct iphdr header;

	if (variant.family == FAMILY_IPV6) {
		place[1] |= 1;
		return frame;
	}
	memcpy(&header, place, sizeof(header));
	header.frag_off = 0;
	header.check = 0;
	header.check = header_sum(&header, sizeof(header));
	memcpy(place, &header, sizeof(header));
	return frame;
}
