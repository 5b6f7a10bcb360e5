/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Only what the stack of this node would have taken is touched: frames and packets that are for
 * others, or for nobody, pass as if nothing were here. And what is answered, is answered as a
 * router or a host would.
 */

#include "bpf/outside.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ip.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

#define ANSWERS_PER_SECOND 200
#define FLOOD_MAX          20000
#define WAIT_MS            3000
#define ASK_MS             500

static const __u8 others_mac[6] = {2, 0, 0, 0, 0, 0x99};
static const __u8 bridge_mac[6] = {2, 0, 0, 0, 0, 0xbb};
static const __u8 everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const __u8 group[6] = {0x01, 0x00, 0x5e, 0, 0, 1};

static void make_limited(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.rejects_per_second = ANSWERS_PER_SECOND;
}

static int load(void **state)
{
	static const char *const commands[] = {
		/* 10.1.0.9 is unreachable; and these have ways of their own kind. */
		"ip route add prohibit 10.1.0.10/32",
		"ip -6 route add prohibit fd01::a/128",
		"ip route add blackhole 10.1.0.11/32",
		"ip -6 route add blackhole fd01::b/128",
		"ip route add throw 10.1.0.12/32",
		"ip route del default",
		"ip -6 route del default",
		"ip route add 10.0.0.0/24 via 192.168.0.254",
		"ip -6 route add fd00::/64 via fdee::fe",
		/* Nobody answers for this router. */
		"ip route add 10.1.0.13/32 via 172.20.0.99",
		"ip -6 route add fd01::d/128 via fd20::99",
	};

	(void)state;
	if (outside_load(make_limited))
		return -1;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (system(commands[i]))
			return -1;
	}
	return 0;
}

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static struct frame sent_to(struct frame frame, const __u8 mac[6])
{
	memcpy(frame.bytes, mac, 6);
	return frame;
}

static struct frame sent_from(struct frame frame, const __u8 mac[6])
{
	memcpy(frame.bytes + 6, mac, 6);
	return frame;
}

static void then_nothing_has_happened(__u64 skipped)
{
	then_counted(COUNTER_SKIPPED, skipped);
	for (int reason = 0; reason < COUNTER_COUNT; reason++) {
		if (reason != COUNTER_SKIPPED)
			then_counted((enum counter_reason)reason, 0);
	}
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 0);
}

/* What would be served, refused or answered: each of it is for somebody else. */
static void left_alone(const __u8 mac[6])
{
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_asked(sent_to(opens(client(4000), dialled(kind)), mac));
		then_goes_on();
		when_asked(sent_to(follows(client(4000), dialled(kind)), mac));
		then_goes_on();
	}
	when_asked(sent_to(opens(client(4000), vip(81)), mac));
	then_goes_on();
	when_asked(sent_to(packet(.src = client(0), .dst = vip(0),
				  .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				  .icmp_type = is_ipv4() ? 8 : 128),
			   mac));
	then_goes_on();
	then_nothing_has_happened(10);
}

static void a_frame_for_another_host_is_left_alone(void **state)
{
	(void)state;
	given_outside(1);
	left_alone(others_mac);
}

static void a_frame_for_everybody_is_left_alone(void **state)
{
	(void)state;
	given_outside(1);
	given_port(uplink, false, everybody);
	left_alone(everybody);
}

static void a_frame_for_a_group_is_left_alone(void **state)
{
	(void)state;
	given_outside(1);
	left_alone(group);
}

/* Nothing of a flow changes by what another node's client sends to the other node. */
static void a_flow_does_not_see_the_frames_of_others(void **state)
{
	struct flow before_it, after_it;

	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), vip(80)));
	when_answered(answers(pod(1), inner(4000)));
	when_asked(follows(client(4000), vip(80)));
	assert_int_equal(original_place(&before_it), FLOW_CONFIRMED);

	when_asked(sent_to(tcp(client(4000), vip(80), RST), others_mac));
	then_goes_on();
	when_answered(sent_to(tcp(pod(1), inner(4000), FIN | ACK), others_mac));
	then_goes_on();

	assert_int_equal(original_place(&after_it), FLOW_CONFIRMED);
	assert_memory_equal(&before_it, &after_it, sizeof(before_it));
}

static void given_service_range(void)
{
	struct service_ranges ranges = {.count = 1};
	struct peer unused = vip(0);
	__u32 zero = 0;

	memset(ranges.ranges[0].mask.bytes, 0xff, 14);
	ranges.ranges[0].addr = unused.addr;
	memset(ranges.ranges[0].addr.bytes + 14, 0, 2);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.service_ranges), &zero,
					     &ranges, BPF_ANY),
			 0);
}

/* It would be dropped where this node was to send it on; what others send each other is theirs. */
static void a_frame_of_others_for_an_unused_address_is_left_alone(void **state)
{
	struct peer unused = vip(80);

	(void)state;
	given_outside(1);
	given_service_range();
	unused.addr.bytes[15] = 99;

	when_asked(sent_to(opens(client(4000), unused), others_mac));
	then_goes_on();
	when_asked(opens(client(4000), unused));
	then_dropped(COUNTER_DROP_UNUSED_ADDRESS);
}

/* Bridges. */

static void what_a_bridge_takes_for_the_node_is_served(void **state)
{
	(void)state;
	given_outside(1);
	given_port(uplink, false, bridge_mac);

	when_asked(sent_to(opens(client(4000), vip(80)), bridge_mac));
	then_returns_as(sent_to(passed(opening(inner(4000), pod(1))), bridge_mac));
	when_asked(opens(client(4001), vip(80)));
	then_returns_as(passed(opening(inner(4001), pod(1))));
	when_asked(sent_to(opens(client(4002), vip(80)), others_mac));
	then_goes_on();
	assert_int_equal(flow_place(client(4002), vip(80), FLOW_ORIGINAL, NULL), FLOW_NOWHERE);
}

/* Nobody may learn from us where another host is. */
static void what_is_refused_behind_a_bridge_hears_it_from_the_bridge(void **state)
{
	struct packet_spec answer;
	struct frame refused = sent_to(opens(client(4000), vip(81)), others_mac);

	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, bridge_mac);

	when_ingress(refused);

	if (variant.proto == IPPROTO_TCP) {
		answer = segment(vip(81), client(4000), RST | ACK);
		answer.seq = 0;
		answer.ack = 1001;
	} else {
		answer = (struct packet_spec){
			.src = vip(81),
			.dst = client(4000),
			.proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			.icmp_type = is_ipv4() ? 3 : 1,
			.icmp_code = is_ipv4() ? 3 : 4,
			.quote = &refused,
			.quote_transport = 8,
		};
	}
	answer.is_fresh = answer.is_returned = true;
	then_returns_as(sent_from(built(answer), bridge_mac));
}

static void a_pod_behind_a_bridge_is_served_whoever_its_router_is(void **state)
{
	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, bridge_mac);

	when_ingress(sent_to(opens(client(4000), vip(80)), others_mac));
	then_goes_on_as(sent_to(opens(client(4000), pod(1)), others_mac));
	when_ingress(sent_to(opens(client(4001), vip(80)), everybody));
	then_goes_on();
}

/* Whose ports' address nobody knows, for its bridges are no links of the kernel's. */
static void all_frames_at_a_port_of_open_vswitch_are_looked_at(void **state)
{
	static const __u8 unknown[6];

	(void)state;
	given_outside(1);
	given_port(uplink, false, unknown);

	when_asked(sent_to(opens(client(4000), vip(80)), others_mac));
	then_returns_as(sent_to(passed(opening(inner(4000), pod(1))), others_mac));
}

/* Its client's old flow would give the answer another source: it is forgotten. */
static void a_pod_behind_a_bridge_is_dialled_directly(void **state)
{
	struct packet_spec spec = opening(client(4000), pod(1));
	struct frame direct;

	(void)state;
	given_pods(1);
	given_backend_flags(1, BACKEND_LOCAL);
	given_port(uplink, false, bridge_mac);
	when_asked(sent_to(opens(client(4000), vip(80)), bridge_mac));
	given_time_passed(TIMEOUT_TCP_NEW_S + 1);

	spec.seq = 70000;
	direct = sent_to(built(spec), others_mac);
	when_asked(direct);
	then_goes_on();
	then_counted(COUNTER_FORGOTTEN, 1);
	then_counted(COUNTER_SKIPPED, 0);
}

/* Tags. */

static void a_tag_without_a_link_is_left_alone(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));

	(void)state;
	given_outside(1);
	for (spec.tags = 1; spec.tags <= 2; spec.tags++) {
		when_asked(built(spec));
		then_goes_on();
	}
	then_nothing_has_happened(2);
}

/* Martians and broken headers. */

static const char *const martians4[] = {"127.0.0.1", "127.255.255.254", "0.0.0.0",        "0.1.2.3",
					"224.0.0.1", "239.1.2.3",       "255.255.255.255"};
static const char *const martians6[] = {"::", "::1", "ff02::1", "ff0e::1234"};

static void a_packet_from_nobody_is_left_alone(void **state)
{
	const char *const *sources = is_ipv4() ? martians4 : martians6;
	size_t count = is_ipv4() ? sizeof(martians4) / sizeof(martians4[0])
				 : sizeof(martians6) / sizeof(martians6[0]);

	(void)state;
	given_outside(1);
	for (size_t i = 0; i < count; i++) {
		struct peer source = peer(sources[i], 4000);

		when_asked(opens(source, vip(80)));
		then_goes_on();
		when_asked(opens(source, vip(81)));
		then_goes_on();
		when_asked(follows(source, node(NODE_PORT)));
		then_goes_on();
		when_ingress(opens(source, vip(80)));
		then_goes_on();
	}
	then_nothing_has_happened(4 * count);
}

/* What is next to them is somebody. */
static void a_packet_from_an_odd_address_is_served(void **state)
{
	static const char *const sources4[] = {"1.0.0.0",   "126.255.255.255",
					       "128.0.0.1", "223.255.255.255",
					       "240.0.0.1", "255.255.255.254"};
	static const char *const sources6[] = {"::2", "fe00::1", "0:0:1::", "::1:0:0:1"};
	const char *const *sources = is_ipv4() ? sources4 : sources6;
	size_t count = is_ipv4() ? 6 : 4;

	(void)state;
	given_pods(1);
	for (size_t i = 0; i < count; i++) {
		when_ingress(opens(peer(sources[i], 4000), vip(80)));
		then_goes_on_as(opens(peer(sources[i], 4000), pod(1)));
	}
	then_counted(COUNTER_SKIPPED, 0);
}

/* On the wire an IPv4 address may not stand in an IPv6 header; here it would be taken for one. */
static void an_ipv4_address_in_an_ipv6_header_is_nobodys(void **state)
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct frame frame;

	(void)state;
	given_pods(1);
	variant.family = FAMILY_IPV6;
	for (int side = 0; side < 2; side++) {
		struct peer ipv4 = peer(side ? "10.96.0.1" : "10.0.0.1", 80);
		struct peer other = side ? client(4000) : vip(80);
		__u8 *address;

		frame = side ? opens(other, vip(80)) : opens(client(4000), other);
		address = frame.bytes + LINK_HEADER_SIZE + 8 + 16 * side;
		memcpy(address, mapped, sizeof(mapped));
		memcpy(address + 12, ipv4.addr.bytes + 12, 4);
		when_ingress(frame);
		then_goes_on();
	}
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void a_broken_header_is_left_alone(void **state)
{
	(void)state;
	given_outside(1);
	for (__u32 options = 0; options <= 40; options += 20) {
		for (unsigned offset = 0; offset < 20 + options; offset++) {
			struct packet_spec spec = opening(client(4000), vip(80));
			struct frame frame;

			/* Version and size of the header, and who it is for, are another matter. */
			if (!offset || (offset >= 16 && offset < 20))
				continue;
			spec.ipv4_options = options;
			frame = built(spec);
			frame.bytes[LINK_HEADER_SIZE + offset] ^= 0x10;
			when_asked(frame);
			then_goes_on();
		}
	}
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	for (__u32 options = 0; options <= 40; options += 4) {
		struct packet_spec spec = opening(client((__u16)(4000 + options)), vip(80));

		spec.ipv4_options = options;
		when_asked(built(spec));
		assert_int_equal(verdict(), TC_ACT_REDIRECT);
	}
}

/* The node's own. */

static void only_the_nodes_own_packets_are_served_where_they_leave(void **state)
{
	(void)state;
	given_outside(1);

	/* A guest with an address of its own on the link: its packet was never received either. */
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_run(programs->progs.fl_egress, opens(client(4000), dialled(kind)), uplink, 0);
		then_goes_on();
	}
	when_run(programs->progs.fl_egress, opens(client(4000), vip(81)), uplink, 0);
	then_goes_on();
	then_nothing_has_happened(0);

	when_run(programs->progs.fl_egress, opens(node(4000), vip(80)), uplink, 0);
	then_returns_as(opens(node(4000), pod(1)));
}

static void a_guests_packet_to_an_unused_address_is_its_own_business(void **state)
{
	struct peer unused = vip(80);

	(void)state;
	given_outside(1);
	given_service_range();
	unused.addr.bytes[15] = 99;

	when_run(programs->progs.fl_egress, opens(client(4000), unused), uplink, 0);
	then_goes_on();
	when_run(programs->progs.fl_egress, opens(node(4000), unused), uplink, 0);
	then_dropped(COUNTER_DROP_UNUSED_ADDRESS);
}

/* A process bound to a VIP that a link of the node has. */
static void an_address_of_the_node_that_is_a_frontend_is_the_nodes_own(void **state)
{
	struct peer own = external(4000);

	(void)state;
	given_outside(1);
	given_address(own.addr, ADDRESS_NODE);

	when_run(programs->progs.fl_egress, opens(own, vip(80)), uplink, 0);
	then_returns_as(opens(inner(4000), pod(1)));
}

/*
 * The backend is the node itself, and its client a pod that is the backend of another flow: one
 * whose reply has the tuple that the answer had before it was translated.
 */
static void a_translated_reply_is_not_a_request(void **state)
{
	struct peer self = node(BACKEND_PORT), caller = pod(2);
	__u32 first, second;

	(void)state;
	caller.port = 4000;
	first = given_backend(self, variant.proto);
	given_address(self.addr, ADDRESS_NODE);
	given_service(vip(BACKEND_PORT), variant.proto, 1, &first);
	second = given_backend(caller, variant.proto);
	given_service(another_vip(90), variant.proto, 1, &second);
	when_node_sends(opens(self, another_vip(90)));
	assert_int_equal(flow_place(caller, self, FLOW_REPLY, NULL), FLOW_AMONG_NEW);
	when_ingress(opens(caller, vip(BACKEND_PORT)));
	then_goes_on_as(opens(caller, self));
	given_time_passed(2);

	when_node_sends(answers(self, caller));

	then_goes_on_as(answers(vip(BACKEND_PORT), caller));
	then_counted(COUNTER_FORGOTTEN, 0);
	assert_int_equal(flow_place(caller, self, FLOW_REPLY, NULL), FLOW_AMONG_NEW);
}

/* ICMP. */

static struct frame error_about(const struct frame *quote, struct peer from, struct peer to,
				__u32 quoted)
{
	return packet(.src = from, .dst = to, .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = is_ipv4() ? 3 : 1, .icmp_code = is_ipv4() ? 1 : 3,
		      .quote = quote, .quote_transport = quoted);
}

/* As a link fills up a frame that is too short for it. */
static struct frame padded(struct frame frame, __u32 size)
{
	memset(frame.bytes + frame.size, 0xa5, size);
	frame.size += size;
	return frame;
}

static void what_fills_up_a_frame_is_no_part_of_a_quote(void **state)
{
	struct frame there = follows(client(4000), pod(1)),
		     restored = follows(client(4000), vip(80));

	(void)state;
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));

	for (__u32 quoted = 4; quoted <= (variant.proto == IPPROTO_TCP ? 20U : 8U); quoted += 2) {
		when_egress(padded(error_about(&there, router(), client(0), quoted), 30));
		then_goes_on_as(padded(error_about(&restored, router(), client(0), quoted), 30));
	}
}

/* Its ports would be read from behind the end. */
static void a_quote_that_ends_before_its_ports_is_no_quote(void **state)
{
	struct frame there = follows(client(4000), pod(1)), error;

	(void)state;
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	error = error_about(&there, router(), client(0), 0);
	memcpy(error.bytes + error.size, there.bytes + frame_transport(&there), 8);
	error.size += 8;

	when_egress(error);

	then_goes_on();
	then_counted(COUNTER_ICMP_TRANSLATED, 0);
}

static void when_the_hops_run_out(__u16 port)
{
	struct packet_spec spec = opening(client(port), vip(80));

	spec.ttl = 1;
	when_asked(built(spec));
}

/* As many as are answered in a second, however many seconds it takes to send so many. */
static void a_flood_of_refusals_leaves_errors_their_own(void **state)
{
	__u16 port = 4000;

	(void)state;
	given_outside(1);
	do
		when_asked(opens(client(port++), vip(81)));
	while (verdict() != TC_ACT_SHOT && port < 4000 + FLOOD_MAX);
	assert_int_equal(verdict(), TC_ACT_SHOT);

	when_the_hops_run_out(3000);

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_TIME_EXCEEDED, 1);
}

static void a_flood_of_errors_leaves_refusals_their_own(void **state)
{
	__u16 port = 4000;

	(void)state;
	given_outside(1);
	do
		when_the_hops_run_out(port++);
	while (verdict() != TC_ACT_SHOT && port < 4000 + FLOOD_MAX);
	assert_int_equal(verdict(), TC_ACT_SHOT);

	when_asked(opens(client(3000), vip(81)));

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_PORT, 1);
}

/* What the sender of a packet hears of it. */
static struct frame told(struct frame about, __u8 code4, __u8 code6, struct peer from,
			 struct peer to)
{
	return packet(.src = from, .dst = to, .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = is_ipv4() ? 3 : 1, .icmp_code = is_ipv4() ? code4 : code6,
		      .quote = &about, .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
		      .is_returned = true, .is_fresh = true);
}

static void given_backend_at(unsigned number)
{
	__u32 service = given_outside(0), backend = given_backend(pod(number), variant.proto);

	given_slots(service, 1, &backend);
}

static void a_client_hears_what_a_route_says(void **state)
{
	static const struct {
		unsigned pod;
		__u8 code4, code6;
		enum counter_reason reason;
	} cases[] = {
		{9, 1, 0, COUNTER_UNREACHABLE},
		{10, 13, 1, COUNTER_PROHIBITED},
		{12, 0, 0, COUNTER_DROP_NO_ROUTE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame asked = opens(client((__u16)(4000 + i)), node(NODE_PORT));

		/* IPv6 knows no such route; there it is the last one that is not there. */
		if (cases[i].pod == 12 && !is_ipv4())
			assert_int_equal(system("ip -6 route del fd01::/64 via fd20::2"), 0);
		given_backend_at(cases[i].pod);
		when_asked(asked);
		then_returns_as(told(asked, cases[i].code4, cases[i].code6, node(0), client(0)));
		then_counted(cases[i].reason, 1);
	}
	if (!is_ipv4())
		assert_int_equal(system("ip -6 route add fd01::/64 via fd20::2"), 0);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void a_blackhole_says_nothing(void **state)
{
	(void)state;
	given_backend_at(11);

	when_asked(opens(client(4000), node(NODE_PORT)));

	then_dropped(COUNTER_DROP_BLACKHOLE);
}

static void search_age(const void *key, const void *value, void *context)
{
	const __u64 *milliseconds = context;
	struct neighbour_search search;

	memcpy(&search, value, sizeof(search));
	search.begun_ms -= *milliseconds;
	search.asked_ms -= *milliseconds;
	search.seen_ms -= *milliseconds;
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.neighbour_searches), key,
					     &search, BPF_ANY),
			 0);
}

/* All searches are so much older; there may be none. */
static void given_searched_for(__u64 milliseconds)
{
	assert_int_equal(
		map_each(bpf_map__fd(programs->maps.neighbour_searches), search_age, &milliseconds),
		0);
}

static void given_neighbour(const char *router, const char *link, bool is_known)
{
	char command[128];

	(void)snprintf(command, sizeof(command),
		       is_known ? "ip neigh replace %s lladdr 02:00:00:00:00:fe dev %s"
				: "ip neigh del %s dev %s",
		       router, link);
	assert_int_equal(system(command), 0);
}

static void then_sent(void)
{
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	assert_int_equal(outcome()->size, before()->size);
}

/* First the kernel asks for the neighbour; once it has given up, clients hear of it. */
static void a_client_hears_that_nobody_answers_for_the_backends_router(void **state)
{
	struct frame asked = opens(client(4000), vip(80));

	(void)state;
	given_backend_at(13);
	when_asked(asked);
	then_sent();
	when_asked(asked);
	then_sent();

	given_searched_for(WAIT_MS);
	when_asked(asked);
	then_returns_as(told(asked, 1, 3, node(0), client(0)));
	then_counted(COUNTER_NO_NEIGHBOUR, 1);

	/* Twice a second one makes the kernel ask again; all others hear at once. */
	given_searched_for(ASK_MS);
	when_asked(asked);
	then_sent();
	for (__u16 port = 4001; port < 4010; port++) {
		when_asked(opens(client(port), vip(80)));
		then_returns_as(told(opens(client(port), vip(80)), 1, 3, node(0), client(0)));
	}
	then_counted(COUNTER_NO_NEIGHBOUR, 10);
}

/* Of answers nobody is told, so none may be lost: the client may be there again. */
static void an_answer_makes_the_kernel_ask_for_the_client_whoever_asked_before(void **state)
{
	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), node(NODE_PORT)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	given_neighbour(is_ipv4() ? "192.168.0.254" : "fdee::fe", "fl-up", false);

	for (int i = 0; i < 3; i++) {
		when_answered(answers(pod(1), inner(4000)));
		then_sent();
		given_searched_for(WAIT_MS);
	}

	given_neighbour(is_ipv4() ? "192.168.0.254" : "fdee::fe", "fl-up", true);
	then_counted(COUNTER_NO_NEIGHBOUR, 0);
}

/* It may have come meanwhile: what is long ago says nothing. */
static void a_search_that_is_over_begins_anew(void **state)
{
	(void)state;
	given_backend_at(13);
	when_asked(opens(client(4000), vip(80)));
	given_searched_for(60000);

	when_asked(opens(client(4000), vip(80)));
	then_sent();
	then_counted(COUNTER_NO_NEIGHBOUR, 0);
}

/* What the kernel has found and forgotten again gets all the time that it takes to find it. */
static void a_neighbour_that_was_found_is_searched_for_anew(void **state)
{
	const char *router = is_ipv4() ? "172.20.0.99" : "fd20::99";

	(void)state;
	given_backend_at(13);
	when_asked(opens(client(4000), vip(80)));
	given_searched_for(WAIT_MS);
	given_neighbour(router, "fl-over", true);
	when_asked(opens(client(4000), vip(80)));
	then_sent();

	given_neighbour(router, "fl-over", false);
	when_asked(opens(client(4000), vip(80)));
	then_sent();
	then_counted(COUNTER_NO_NEIGHBOUR, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_frame_for_another_host_is_left_alone),
		FAMILIES(a_frame_for_everybody_is_left_alone),
		FAMILIES(a_frame_for_a_group_is_left_alone),
		FAMILIES(a_flow_does_not_see_the_frames_of_others),
		FAMILIES(a_frame_of_others_for_an_unused_address_is_left_alone),
		EACH(what_a_bridge_takes_for_the_node_is_served),
		EACH(what_is_refused_behind_a_bridge_hears_it_from_the_bridge),
		FAMILIES(a_pod_behind_a_bridge_is_served_whoever_its_router_is),
		FAMILIES(all_frames_at_a_port_of_open_vswitch_are_looked_at),
		EACH(a_pod_behind_a_bridge_is_dialled_directly),
		FAMILIES(a_tag_without_a_link_is_left_alone),
		EACH(a_packet_from_nobody_is_left_alone),
		FAMILIES(a_packet_from_an_odd_address_is_served),
		ONCE(an_ipv4_address_in_an_ipv6_header_is_nobodys),
		ONCE(a_broken_header_is_left_alone),
		EACH(only_the_nodes_own_packets_are_served_where_they_leave),
		FAMILIES(a_guests_packet_to_an_unused_address_is_its_own_business),
		EACH(an_address_of_the_node_that_is_a_frontend_is_the_nodes_own),
		EACH(a_translated_reply_is_not_a_request),
		EACH(what_fills_up_a_frame_is_no_part_of_a_quote),
		EACH(a_quote_that_ends_before_its_ports_is_no_quote),
		FAMILIES(a_flood_of_refusals_leaves_errors_their_own),
		FAMILIES(a_flood_of_errors_leaves_refusals_their_own),
		EACH(a_client_hears_what_a_route_says),
		FAMILIES(a_blackhole_says_nothing),
		EACH(a_client_hears_that_nobody_answers_for_the_backends_router),
		FAMILIES(a_search_that_is_over_begins_anew),
		EACH(a_neighbour_that_was_found_is_searched_for_anew),
		EACH(an_answer_makes_the_kernel_ask_for_the_client_whoever_asked_before),
	};

	return cmocka_run_group_tests_name("frames", tests, load, datapath_unload);
}
