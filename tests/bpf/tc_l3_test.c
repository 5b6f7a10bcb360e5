/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Links without a link-layer header (tun, wireguard, ipip). BPF_PROG_RUN takes bytes 12 and 13 of
 * any packet for its Ethernet type, so all sources here are addresses with that type in the right
 * place: 8.0.x.x and 2001:db8:86dd::x.
 */

#include "bpf/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

static struct peer caller(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "8.0.0.1" : "2001:db8:86dd::1", port);
}

static struct peer answerer(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "8.0.1.1" : "2001:db8:86dd:1::1", port);
}

static struct peer frontend(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "8.0.2.1" : "2001:db8:86dd:2::1", port);
}

static struct frame bare(struct packet_spec spec)
{
	spec.is_bare = true;
	return built(spec);
}

static void given_a_service(void)
{
	__u32 backend = given_backend(answerer(BACKEND_PORT), variant.proto);

	given_service(frontend(80), variant.proto, 1, &backend);
	given_link(up, true);
}

static void when_bare_ingress(struct packet_spec spec)
{
	when_run(programs->progs.fl_ingress_l3, bare(spec), up, up);
}

static void a_bare_packet_is_served_both_ways(void **state)
{
	(void)state;
	given_a_service();

	when_bare_ingress(opening(caller(4000), frontend(80)));
	then_goes_on_as(bare(opening(caller(4000), answerer(BACKEND_PORT))));

	when_run(programs->progs.fl_egress_l3,
		 bare(answering(answerer(BACKEND_PORT), caller(4000))), up, up);
	then_goes_on_as(bare(answering(frontend(80), caller(4000))));

	when_bare_ingress(following(caller(4000), frontend(80)));
	then_goes_on_as(bare(following(caller(4000), answerer(BACKEND_PORT))));
}

static void a_bare_segment_is_refused(void **state)
{
	struct packet_spec reset = segment(frontend(81), caller(4000), RST | ACK);

	(void)state;
	given_a_service();
	reset.seq = 0;
	reset.ack = 1001;
	reset.is_fresh = true;

	when_bare_ingress(opening(caller(4000), frontend(81)));

	then_returns_as(bare(reset));
}

static void a_bare_packet_comes_back_to_its_own_link(void **state)
{
	struct packet_spec there = opening(frontend(4000), answerer(BACKEND_PORT));
	struct peer self = answerer(4000);

	(void)state;
	given_a_service();
	there.ttl = TTL_DEFAULT - 1;

	when_bare_ingress(opening(self, frontend(80)));

	then_returns_as(bare(there));
}

/* What an Ethernet link is given needs room for a header; the kernel fills it in. */
static struct frame with_room(struct frame frame)
{
	static const __u8 types[][2] = {[FAMILY_IPV4] = {0x08, 0x00}, [FAMILY_IPV6] = {0x86, 0xdd}};

	memmove(frame.bytes + LINK_HEADER_SIZE, frame.bytes, frame.size);
	memset(frame.bytes, 0, LINK_HEADER_SIZE);
	memcpy(frame.bytes + 12, types[variant.family], 2);
	frame.size += LINK_HEADER_SIZE;
	return frame;
}

static void a_process_behind_a_bare_link_reaches_a_backend_by_another_link(void **state)
{
	(void)state;
	given_a_service();
	given_address(caller(0).addr, ADDRESS_NODE);

	when_run(programs->progs.fl_egress_l3, bare(opening(caller(4000), frontend(80))), up, 0);

	then_returns_as(with_room(bare(opening(caller(4000), answerer(BACKEND_PORT)))));
}

static void a_process_behind_a_bare_link_reaches_a_backend_by_the_same_link(void **state)
{
	(void)state;
	given_a_service();
	given_address(caller(0).addr, ADDRESS_NODE);

	when_run(programs->progs.fl_egress_l3, bare(opening(caller(4000), frontend(80))), pod_link,
		 0);

	then_goes_on_as(bare(opening(caller(4000), answerer(BACKEND_PORT))));
}

/* It dialled through an Ethernet link, and the backend is behind a tunnel. */
static void a_bare_reply_is_delivered_to_an_ethernet_link(void **state)
{
	struct frame expected;

	(void)state;
	given_a_service();
	given_address(caller(0).addr, ADDRESS_NODE);
	when_run(programs->progs.fl_egress, opens(caller(4000), frontend(80)), up, 0);
	assert_int_equal(verdict(), TC_ACT_REDIRECT);

	when_run(programs->progs.fl_ingress_l3,
		 bare(answering(answerer(BACKEND_PORT), caller(4000))), pod_link, pod_link);

	expected = with_room(bare(answering(frontend(80), caller(4000))));
	expected.bytes[0] = 2;
	expected.bytes[5] = 1;
	then_returns_as(expected);
}

#define TCX_INGRESS    46 /* BPF_TCX_INGRESS, which older headers do not have */
#define ANSWER_WAIT_MS 5000

/* A tun link of which we are the far end, with our program on it. */
struct tunnel {
	int fd, link;
};

static struct tunnel tunnel_open(void)
{
	struct tunnel tunnel = {.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), .link = -1};
	struct ifreq request = {.ifr_name = "fl-tun", .ifr_flags = IFF_TUN | IFF_NO_PI};

	if (tunnel.fd < 0)
		skip();
	assert_int_equal(ioctl(tunnel.fd, TUNSETIFF, &request), 0);
	assert_int_equal(system("ip link set fl-tun up"), 0);
	tunnel.link = bpf_link_create(bpf_program__fd(programs->progs.fl_ingress_l3),
				      (int)if_nametoindex("fl-tun"), TCX_INGRESS, NULL);
	if (tunnel.link < 0) {
		(void)close(tunnel.fd);
		skip();
	}
	return tunnel;
}

/* What comes back through it; the kernel says a few things of its own there as well. */
static struct frame tunnel_asked(struct tunnel tunnel, struct frame question, struct peer from)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct pollfd ready = {.fd = tunnel.fd, .events = POLLIN};
	struct frame answer = {};
	const __u8 *source = answer.bytes + (is_ipv4 ? 12 : 8);

	assert_int_equal(write(tunnel.fd, question.bytes, question.size), question.size);
	while (poll(&ready, 1, ANSWER_WAIT_MS) == 1) {
		ssize_t size = read(tunnel.fd, answer.bytes, sizeof(answer.bytes));

		assert_true(size > 0);
		answer.size = (__u32)size;
		if (!memcmp(source, from.addr.bytes + (is_ipv4 ? 12 : 0), is_ipv4 ? 4 : 16))
			break;
		answer.size = 0;
	}
	return answer;
}

static void a_tunnel_gets_refusals_in_full(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct packet_spec spec = opening(caller(4000), frontend(81));
	struct packet_spec reset = segment(frontend(81), caller(4000), RST | ACK);
	struct frame whole = built(spec), expected, answer;
	struct tunnel tunnel;

	(void)state;
	given_a_service();
	tunnel = tunnel_open();
	reset.seq = 0;
	reset.ack = spec.seq + 1;
	reset.is_fresh = true;
	expected = variant.proto == IPPROTO_TCP
			   ? bare(reset)
			   : packet(.src = frontend(0), .dst = caller(0), .is_bare = true,
				    .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				    .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 3 : 4,
				    .quote = &whole, .quote_transport = 8, .is_fresh = true);

	answer = tunnel_asked(tunnel, bare(spec), frontend(0));

	assert_true(frame_equal(&answer, &expected));
	assert_int_equal(close(tunnel.link), 0);
	assert_int_equal(close(tunnel.fd), 0);
}

/* A client and a backend that are both behind the tunnel, neither of them on this node. */
static struct peer tunnel_client(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "8.0.8.7" : "2001:db8:86dd:8::7", port);
}

static struct peer tunnel_backend(void)
{
	return peer(variant.family == FAMILY_IPV4 ? "8.0.9.1" : "2001:db8:86dd:9::1", BACKEND_PORT);
}

static struct frame passed_bare(struct packet_spec spec)
{
	spec.ttl = TTL_DEFAULT - 1;
	return bare(spec);
}

static void then_tunnel_passes(struct tunnel tunnel, struct packet_spec asked,
			       struct packet_spec wanted)
{
	struct frame expected = passed_bare(wanted);
	struct frame became = tunnel_asked(tunnel, bare(asked), wanted.src);

	assert_true(frame_equal(&became, &expected));
}

static void a_tunnel_carries_flows_with_source_nat_both_ways(void **state)
{
	static const char *const routes[] = {
		"ip route replace 8.0.8.0/24 dev fl-tun",
		"ip route replace 8.0.9.0/24 dev fl-tun",
		"ip -6 route replace 2001:db8:86dd:8::/64 dev fl-tun",
		"ip -6 route replace 2001:db8:86dd:9::/64 dev fl-tun",
	};
	struct tunnel tunnel = tunnel_open();
	__u32 backend, link = if_nametoindex("fl-tun");

	(void)state;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		assert_int_equal(system(routes[i]), 0);
	backend = given_backend(tunnel_backend(), variant.proto);
	given_service(frontend(80), variant.proto, 1, &backend);
	given_link_source(link, caller(0).addr);

	then_tunnel_passes(tunnel, opening(tunnel_client(4000), frontend(80)),
			   opening(caller(4000), tunnel_backend()));
	then_tunnel_passes(tunnel, answering(tunnel_backend(), caller(4000)),
			   answering(frontend(80), tunnel_client(4000)));
	then_tunnel_passes(tunnel, following(tunnel_client(4000), frontend(80)),
			   following(caller(4000), tunnel_backend()));
	assert_int_equal(close(tunnel.link), 0);
	assert_int_equal(close(tunnel.fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_bare_packet_is_served_both_ways),
		FAMILIES(a_bare_segment_is_refused),
		EACH(a_bare_packet_comes_back_to_its_own_link),
		EACH(a_process_behind_a_bare_link_reaches_a_backend_by_another_link),
		EACH(a_process_behind_a_bare_link_reaches_a_backend_by_the_same_link),
		EACH(a_bare_reply_is_delivered_to_an_ethernet_link),
		EACH(a_tunnel_gets_refusals_in_full),
		EACH(a_tunnel_carries_flows_with_source_nat_both_ways),
	};

	return cmocka_run_group_tests_name("l3", tests, load_with_links, datapath_unload);
}
