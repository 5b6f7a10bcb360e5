/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Every program with every protocol, in the shapes that packets come in: each frame is compared,
 * byte by byte, with one made from scratch. BPF_PROG_RUN takes bytes 12 and 13 of a packet without
 * link-layer header for its Ethernet type: all sources have that type in their addresses there.
 */

#include "bpf/datapath.h"

#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdlib.h>

/* RFC 9260, 3.2 */
#define SCTP_COOKIE_ECHO 10

#define MTU 1280

/* BPF_PROG_RUN has no packet shorter than an Ethernet and an IP header. */
#define BARE_LEAST 8

/* Where packets come and go, and by which programs. */
struct side {
	bool is_bare;
	struct bpf_program *ingress, *egress;
};

struct shape {
	const char *name;
	__u8 tags;
	__u32 ipv4_options;
	struct extension extension;
};

static const struct shape shapes[] = {
	{.name = "plain"},
	{.name = "with a tag", .tags = 1},
	{.name = "with two tags", .tags = 2},
	{.name = "with options", .ipv4_options = 40, .extension = {IPPROTO_HOPOPTS, 8, 0}},
	{.name = "with a long header", .ipv4_options = 4, .extension = {IPPROTO_DSTOPTS, 64, 0}},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static const __u8 protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
static const __u32 sizes[] = {0, 1, 2, 3, 4, 101, 1280};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

enum step { OPENS, ANSWERS, FOLLOWS };

static struct side side;
static const struct shape *shape;
static unsigned up, pod_link;

static int load_with_links(void **state)
{
	static const char *const commands[] = {
		"ip link add fl-up address 02:00:00:00:00:02 type veth peer name fl-far",
		"ip link add fl-pod address 02:00:00:00:00:02 type veth peer name fl-in",
		"sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
		"for l in fl-up fl-far fl-pod fl-in; do ip link set $l up; done",
		"ip addr add 8.0.0.1/24 dev fl-up",
		"ip addr add 2001:db8:86dd::1/64 dev fl-up nodad",
		"ip route add 8.0.1.0/24 dev fl-pod",
		"ip -6 route add 2001:db8:86dd:1::/64 dev fl-pod",
	};

	(void)state;
	if (datapath_load(datapath_with_l3))
		return -1;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (system(commands[i]))
			return -1;
	}
	up = if_nametoindex("fl-up");
	pod_link = if_nametoindex("fl-pod");
	return up && pod_link ? 0 : -1;
}

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static struct peer the_client(__u16 port)
{
	return peer(is_ipv4() ? "8.0.0.9" : "2001:db8:86dd::9", port);
}

static struct peer the_node(__u16 port)
{
	return peer(is_ipv4() ? "8.0.0.1" : "2001:db8:86dd::1", port);
}

static struct peer a_router(void)
{
	return peer(is_ipv4() ? "8.0.3.1" : "2001:db8:86dd:3::1", 0);
}

static struct peer backend(__u16 port)
{
	return peer(is_ipv4() ? "8.0.1.1" : "2001:db8:86dd:1::1", port);
}

static struct peer frontend(__u16 port)
{
	return peer(is_ipv4() ? "8.0.2.1" : "2001:db8:86dd:2::1", port);
}

/* Of both sides; for SCTP the verification tag. What SYNs carry is acknowledged. */
static __u32 sequence_of(enum step step)
{
	if (variant.proto == IPPROTO_SCTP)
		return step == OPENS ? 0 : SCTP_TAG;
	return step == FOLLOWS ? 1001 : 1000;
}

static struct packet_spec spec_of(enum step step, struct peer src, struct peer dst, __u32 size)
{
	static const __u8 flags[] = {SYN, SYN | ACK, PSH | ACK};
	static const __u8 chunks[] = {SCTP_INIT, SCTP_INIT_ACK, SCTP_COOKIE_ECHO};
	struct packet_spec spec = {
		.src = src,
		.dst = dst,
		.proto = variant.proto,
		.tcp_flags = flags[step],
		.sctp_chunk = chunks[step],
		.seq = sequence_of(step),
		.ack = step == OPENS ? 0 : 1001 + size,
		.payload = size + (side.is_bare ? BARE_LEAST : 0),
		.is_bare = side.is_bare,
		.tags = side.is_bare ? 0 : shape->tags,
	};

	if (is_ipv4())
		spec.ipv4_options = shape->ipv4_options;
	else
		spec.extensions[0] = shape->extension;
	return spec;
}

static struct frame frame_of(enum step step, struct peer src, struct peer dst, __u32 size)
{
	struct packet_spec spec = spec_of(step, src, dst, size);

	return packet_build(&spec);
}

static void given_the_service(void)
{
	__u32 id;

	for (size_t i = 0; i < sizeof(protos); i++) {
		id = given_backend(backend(BACKEND_PORT), protos[i]);
		given_service(frontend(80), protos[i], 1, &id);
	}
	given_port(up, true, own_mac);
	given_port(pod_link, true, own_mac);
	given_address(the_node(0).addr, ADDRESS_NODE);
}

static void when_comes(struct frame frame)
{
	when_run(side.ingress, frame, up, up);
}

static void when_leaves(struct frame frame)
{
	when_run(side.egress, frame, up, pod_link);
}

typedef void packet_check(__u16 port, __u32 size);

/* Calls it with each kind of link, protocol, shape and size, and with a port nobody had before. */
static void for_each_packet(packet_check *check)
{
	const struct side sides[] = {
		{false, programs->progs.fl_ingress, programs->progs.fl_egress},
		{true, programs->progs.fl_ingress_l3, programs->progs.fl_egress_l3},
	};
	__u16 port = 4000;

	given_the_service();
	for (size_t i = 0; i < 2 * sizeof(protos) * SHAPES * SIZES; i++) {
		side = sides[i % 2];
		variant.proto = protos[i / 2 % sizeof(protos)];
		shape = &shapes[i / 2 / sizeof(protos) % SHAPES];
		check(port++, sizes[i / 2 / sizeof(protos) / SHAPES]);
	}
}

static void check_both_ways(__u16 port, __u32 size)
{
	static const enum step steps[] = {OPENS, FOLLOWS};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		enum step back = steps[i] == OPENS ? ANSWERS : FOLLOWS;

		when_comes(frame_of(steps[i], the_client(port), frontend(80), size));
		then_goes_on_as(frame_of(steps[i], the_client(port), backend(BACKEND_PORT), size));
		when_leaves(frame_of(back, backend(BACKEND_PORT), the_client(port), size));
		then_goes_on_as(frame_of(back, frontend(80), the_client(port), size));
	}
}

static void only_addresses_ports_and_checksums_change(void **state)
{
	(void)state;
	for_each_packet(check_both_ways);
}

/* To and from a process of the node: its packets meet egress first, and replies, which lose their tags, ingress. */
static void check_process(__u16 port, __u32 size)
{
	struct frame sent = frame_of(OPENS, the_node(port), backend(BACKEND_PORT), size);
	struct packet_spec reply = spec_of(ANSWERS, frontend(80), the_node(port), size);

	when_run(side.egress, frame_of(OPENS, the_node(port), frontend(80), size), pod_link, 0);
	if (side.is_bare)
		then_goes_on_as(sent);
	else
		then_returns_as(sent);
	when_run(side.ingress, frame_of(ANSWERS, backend(BACKEND_PORT), the_node(port), size),
		 pod_link, pod_link);
	reply.tags = 0; /* they are of the link where the backend is */
	then_goes_on_as(packet_build(&reply));
}

static void packets_of_a_process_change_in_the_same_way(void **state)
{
	(void)state;
	for_each_packet(check_process);
}

/*
 * How much of the transport header an error quotes: never less than its ports. An SCTP checksum in
 * a quote nobody looks at, it stays as it was.
 */
static __u32 quoted_size(__u32 size)
{
	__u32 extension = is_ipv4() ? 0 : shape->extension.size;

	return extension + (size < 101 || variant.proto == IPPROTO_SCTP ? 8 : 20);
}

/* An ICMP error: who sent it, about what. */
static struct frame error_of(struct peer from, struct peer to, struct peer quote_src,
			     struct peer quote_dst, __u32 size)
{
	struct packet_spec quoted = spec_of(FOLLOWS, quote_src, quote_dst, size);
	struct packet_spec spec = {
		.src = from,
		.dst = to,
		.proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = is_ipv4() ? 3 : 2,
		.icmp_code = is_ipv4() ? 4 : 0,
		.icmp_rest = MTU,
		.quote_transport = quoted_size(size),
		.is_bare = side.is_bare,
		.tags = side.is_bare ? 0 : shape->tags,
	};
	struct frame quote;

	quoted.is_bare = false;
	quote = packet_build(&quoted);
	spec.quote = &quote;
	return packet_build(&spec);
}

static void check_errors(__u16 port, __u32 size)
{
	struct peer asks = the_client(port), asked = frontend(80), answers = backend(BACKEND_PORT);

	when_comes(frame_of(OPENS, asks, asked, 0));
	when_leaves(frame_of(ANSWERS, answers, asks, 0));
	when_comes(frame_of(FOLLOWS, asks, asked, 0));

	when_leaves(error_of(a_router(), the_client(0), asks, answers, size));
	then_goes_on_as(error_of(a_router(), the_client(0), asks, asked, size));
	when_leaves(error_of(backend(0), the_client(0), asks, answers, size));
	then_goes_on_as(error_of(frontend(0), the_client(0), asks, asked, size));
	when_comes(error_of(a_router(), frontend(0), asked, asks, size));
	then_goes_on_as(error_of(a_router(), backend(0), answers, asks, size));
}

static void errors_change_where_they_go_and_what_they_quote(void **state)
{
	(void)state;
	for_each_packet(check_errors);
}

static void check_direct(__u16 port, __u32 size)
{
	static const enum step steps[] = {OPENS, ANSWERS, FOLLOWS};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct frame there = frame_of(steps[i], the_client(port), a_router(), size);
		struct frame back = frame_of(steps[i], backend(port), the_client(port), size);

		when_comes(there);
		then_goes_on();
		when_leaves(there);
		then_goes_on();
		when_run(side.egress, there, up, 0);
		then_goes_on();
		when_comes(back);
		then_goes_on();
		when_leaves(back);
		then_goes_on();
	}
}

static void what_is_of_no_flow_does_not_change(void **state)
{
	(void)state;
	for_each_packet(check_direct);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAMILIES(only_addresses_ports_and_checksums_change),
		FAMILIES(packets_of_a_process_change_in_the_same_way),
		FAMILIES(errors_change_where_they_go_and_what_they_quote),
		FAMILIES(what_is_of_no_flow_does_not_change),
	};

	return cmocka_run_group_tests_name("bytes", tests, load_with_links, datapath_unload);
}
