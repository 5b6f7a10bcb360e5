/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Direct server return, where the backend is: what other nodes have encapsulated is unwrapped, goes
 * to the backend it names, and the replies leave as the frontend's.
 */

#include "bpf/encapsulated.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static void choose_dsr(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.forwarding = FORWARDING_DSR;
}

/* Another link of the node, which leads to no node but those with two ways. */
static unsigned side;

static int load_dsr(void **state)
{
	static const char *const commands[] = {
		"ip link add fl-side address 02:00:00:00:00:02 type veth peer name fl-off",
		"ip link set fl-side up && ip link set fl-off up",
		"ip addr add 172.21.0.1/24 dev fl-side",
		"ip addr add fd21::1/64 dev fl-side nodad",
		"ip route add 192.168.7.0/24 nexthop via 192.168.0.254 nexthop via 172.21.0.2",
		"ip -6 route add fdee:7::/64 nexthop via fdee::fe nexthop via fd21::2",
	};

	(void)state;
	if (outside_load(choose_dsr))
		return -1;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (system(commands[i]))
			return -1;
	}
	side = if_nametoindex("fl-side");
	return side ? 0 : -1;
}

static __u32 seconds_now(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (__u32)now.tv_sec;
}

/* pod(1) and pod(2) are on this node, and nothing is known of Services. */
static void given_pods_here(void)
{
	(void)given_backend(pod(1), variant.proto);
	(void)given_backend(pod(2), variant.proto);
	given_link(uplink, false);
	given_link(overlay, true);
	given_address(node(0).addr, ADDRESS_NODE);
	given_nodes();
}

/* What the client dialled is an address of the other node. */
static struct peer dialled_there(void)
{
	return peer_at(other_node(), NODE_PORT);
}

static void when_received(struct frame inside, struct peer backend)
{
	when_asked(encapsulated(inside, other_node(), backend));
}

/* A backend's packet leaves, by the uplink and straight to the client. */
static void when_replied(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, uplink, overlay);
}

static void given_a_flow(void)
{
	given_pods_here();
	when_received(opens(client(4000), dialled_there()), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
	when_replied(answers(pod(1), client(4000)));
	then_goes_on_as(answers(dialled_there(), client(4000)));
}

static void a_conversation_reaches_the_backend_and_is_answered_as_the_frontend(void **state)
{
	struct flow flow;

	(void)state;
	given_a_flow();
	when_received(follows(client(4000), dialled_there()), pod(1));
	then_goes_on_as(follows(client(4000), pod(1)));
	when_replied(follows(pod(1), client(4000)));
	then_goes_on_as(follows(dialled_there(), client(4000)));

	assert_int_equal(flow_place(client(4000), dialled_there(), FLOW_ORIGINAL, &flow),
			 FLOW_CONFIRMED);
	assert_int_equal(flow.flags, FLOW_DSR_RECEIVED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* What leaves by the uplink. */
static int wire_open(void)
{
	const struct sockaddr_ll place = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex("fl-far"),
	};
	const struct timeval patience = {.tv_usec = 200000};
	int wire = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	assert_true(wire >= 0);
	assert_int_equal(bind(wire, (const struct sockaddr *)&place, sizeof(place)), 0);
	assert_int_equal(setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return wire;
}

/* Counts copies of a frame that come within the wire's patience. */
static unsigned wire_count(int wire, struct frame frame)
{
	__u8 bytes[FRAME_MAX];
	unsigned count = 0;
	ssize_t size;

	while ((size = recv(wire, bytes, sizeof(bytes), 0)) >= 0)
		count += (__u32)size == frame.size && !memcmp(bytes, frame.bytes, frame.size);
	return count;
}

/* The packet that the other node sent, and asked about, as it comes back to it. */
static struct frame sent_back(struct frame inside)
{
	struct frame frame = encapsulated(inside, node(0), peer_at(other_node(), BACKEND_PORT));
	__u8 mac[ETH_ALEN];

	memcpy(mac, frame.bytes, sizeof(mac));
	memcpy(frame.bytes, frame.bytes + ETH_ALEN, ETH_ALEN);
	memcpy(frame.bytes + ETH_ALEN, mac, sizeof(mac));
	return frame;
}

static void when_asked_about(struct frame inside)
{
	when_asked(asking(encapsulated(inside, other_node(), pod(1))));
}

static void given_our_program_on_the_way_out(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)uplink, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE,
		    .prog_fd = bpf_program__fd(programs->progs.fl_egress));
	int err = bpf_tc_hook_create(&hook);

	assert_true(!err || err == -EEXIST);
	assert_int_equal(bpf_tc_attach(&hook, &options), 0);
}

/* Copies go out while the program runs, and meet our own there. */
static void who_asks_about_a_flow_hears_that_it_is_confirmed(void **state)
{
	const struct frame inside = follows(client(4000), dialled_there());
	__u32 begun_s, passed_s;
	unsigned copies;
	int wire;

	(void)state;
	given_a_flow();
	given_our_program_on_the_way_out();
	wire = wire_open();

	/* Once a second is enough, whoever asks. */
	begun_s = seconds_now();
	for (int i = 0; i < 3; i++) {
		when_asked_about(inside);
		then_goes_on_as(follows(client(4000), pod(1)));
	}
	passed_s = seconds_now() - begun_s;
	copies = wire_count(wire, sent_back(inside));
	assert_between(copies, 1, 1 + passed_s);
	then_counted(COUNTER_CONFIRMATION_SENT, copies);

	given_time_passed(2);
	when_asked_about(inside);
	assert_int_equal(wire_count(wire, sent_back(inside)), 1);
	given_time_passed(2);
	when_received(inside, pod(1));
	assert_int_equal(wire_count(wire, sent_back(inside)), 0);
	(void)close(wire);
}

static void who_asks_too_early_hears_nothing(void **state)
{
	const struct frame inside = follows(client(4000), dialled_there());
	int wire;

	(void)state;
	given_pods_here();
	wire = wire_open();
	when_received(opens(client(4000), dialled_there()), pod(1));

	when_asked_about(inside); /* the backend has not answered */
	then_goes_on_as(follows(client(4000), pod(1)));

	assert_int_equal(wire_count(wire, sent_back(inside)), 0);
	then_counted(COUNTER_CONFIRMATION_SENT, 0);
	(void)close(wire);
}

/* Here because the node has lost its address; the next packet asks again. */
static void a_confirmation_that_cannot_be_sent_is_counted(void **state)
{
	const struct frame inside = follows(client(4000), dialled_there());
	const struct link_source nowhere = {};
	__u32 zero = 0;

	(void)state;
	given_a_flow();
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.node_address), &zero,
					     &nowhere, BPF_ANY),
			 0);

	when_asked_about(inside);

	then_goes_on_as(follows(client(4000), pod(1)));
	then_counted(COUNTER_CONFIRMATION_UNSENT, 1);
	then_counted(COUNTER_CONFIRMATION_SENT, 0);
}

static void a_node_that_is_the_backend_gets_its_packets(void **state)
{
	struct peer backend = node(BACKEND_PORT);

	(void)state;
	given_pods_here();
	given_address(node(0).addr, ADDRESS_BACKEND);

	when_received(opens(client(4000), dialled_there()), backend);
	then_goes_on_as(opens(client(4000), backend));
	when_run(programs->progs.fl_egress, answers(backend, client(4000)), uplink, 0);
	then_goes_on_as(answers(dialled_there(), client(4000)));
}

/* Who may. */

static void only_nodes_of_the_cluster_are_listened_to(void **state)
{
	(void)state;
	given_pods_here();

	when_asked(encapsulated(opens(client(4000), vip(80)), stranger(), pod(1)));

	then_dropped(COUNTER_DROP_NOT_A_NODE);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void this_node_sends_none_to_itself(void **state)
{
	(void)state;
	given_pods_here();

	when_asked(encapsulated(opens(client(4000), vip(80)), node(0), pod(1)));

	then_dropped(COUNTER_DROP_NOT_A_NODE);
}

static void a_pod_is_no_node_whatever_it_says(void **state)
{
	(void)state;
	given_pods_here();

	when_answered(encapsulated(opens(client(4000), vip(80)), other_node(), pod(1)));

	then_dropped(COUNTER_DROP_NOT_A_NODE);
}

static void given_role(__u32 ifindex, enum link_role role)
{
	struct link_info link = {.name = "link", .role = role};

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(programs->maps.links), &ifindex, &link, BPF_ANY),
		0);
}

static void when_received_by(unsigned link, struct frame inside, struct peer from,
			     struct peer backend)
{
	when_run(programs->progs.fl_ingress, encapsulated(inside, from, backend), link, link);
}

/* The way to other_node() is by the uplink. */
static void a_node_is_believed_only_by_a_link_that_leads_to_it(void **state)
{
	(void)state;
	given_pods_here();
	given_role(side, LINK_UPLINK);

	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_dropped(COUNTER_DROP_NOT_A_NODE);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);

	when_received_by(uplink, opens(client(4000), vip(80)), other_node(), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
}

static void a_flow_of_one_link_is_not_open_to_another(void **state)
{
	(void)state;
	given_a_flow();
	given_role(side, LINK_UPLINK);

	when_received_by(side, follows(client(4000), dialled_there()), other_node(), pod(1));
	then_dropped(COUNTER_DROP_NOT_A_NODE);

	when_received(follows(client(4000), dialled_there()), pod(1));
	then_goes_on_as(follows(client(4000), pod(1)));
}

static void an_overlay_leads_to_every_node(void **state)
{
	(void)state;
	given_pods_here();
	given_role(side, LINK_OVERLAY);

	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
}

static void a_port_leads_where_its_bridge_does(void **state)
{
	struct link_info link = {.name = "port", .role = LINK_UPLINK, .mac = {2, 0, 0, 0, 0, 9}};

	(void)state;
	given_pods_here();
	link.bridge = uplink;
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(programs->maps.links), &side, &link, BPF_ANY), 0);

	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
}

/* Which of them the kernel would take depends on the addresses; a packet may come by either. */
static void each_of_several_ways_leads_to_a_node(void **state)
{
	struct peer node_far = peer(is_ipv4() ? "192.168.7.2" : "fdee:7::2", 0);

	(void)state;
	given_pods_here();
	given_role(side, LINK_UPLINK);
	given_cluster_node(node_far, CLUSTER_NODE_OTHER);
	for (__u16 port = 4000; port < 4008; port++) {
		when_received_by(port % 2 ? side : uplink, opens(client(port), vip(80)), node_far,
				 pod(1));
		then_goes_on_as(opens(client(port), pod(1)));
	}
}

/* As the agent tells of them. Its route leads by `side` if that is where it is. */
static __u32 given_backend_elsewhere(struct peer there, __u32 flags)
{
	__u32 id = given_backend(there, variant.proto);
	__u32 place = id % FAR_BACKENDS + (is_ipv4() ? 0 : FAR_BACKENDS);
	int map = bpf_map__fd(programs->maps.backends);
	struct backend backend;

	assert_int_equal(bpf_map_lookup_elem(map, &id, &backend), 0);
	backend.flags = flags;
	assert_int_equal(bpf_map_update_elem(map, &id, &backend, BPF_ANY), 0);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(programs->maps.far_backends), &place, &id, BPF_ANY),
		0);
	return id;
}

static struct peer pod_by_the_side(void)
{
	return peer(is_ipv4() ? "172.21.0.9" : "fd21::9", BACKEND_PORT);
}

/* Nodes are known by an address in one network, and pods have another. */
static void a_link_that_leads_to_pods_elsewhere_leads_to_their_nodes(void **state)
{
	(void)state;
	given_pods_here();
	given_role(side, LINK_UPLINK);
	(void)given_backend_elsewhere(pod_by_the_side(), BACKEND_ON_NODE);

	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
	when_received_by(uplink, opens(client(4001), vip(80)), other_node(), pod(1));
	then_goes_on_as(opens(client(4001), pod(1)));
	when_received_by(side, opens(client(4002), vip(80)), stranger(), pod(1));
	then_dropped(COUNTER_DROP_NOT_A_NODE);
}

static void what_is_no_pod_elsewhere_says_nothing_of_nodes(void **state)
{
	struct peer elsewhere = peer(is_ipv4() ? "10.1.0.77" : "fd01::77", BACKEND_PORT);
	__u32 gone;

	(void)state;
	given_pods_here();
	given_role(side, LINK_UPLINK);
	(void)given_backend_elsewhere(elsewhere, BACKEND_ON_NODE); /* not by this link */
	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_dropped(COUNTER_DROP_NOT_A_NODE);

	(void)given_backend_elsewhere(pod_by_the_side(), BACKEND_ON_NODE | BACKEND_LOCAL);
	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_counted(COUNTER_DROP_NOT_A_NODE, 2);

	gone = given_backend_elsewhere(pod_by_the_side(), BACKEND_ON_NODE);
	given_backend_state(gone, BACKEND_FREE);
	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_counted(COUNTER_DROP_NOT_A_NODE, 3);

	(void)given_backend_elsewhere(pod_by_the_side(), 0); /* on nobody's node */
	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_counted(COUNTER_DROP_NOT_A_NODE, 4);

	/* A node's own process. */
	(void)given_backend_elsewhere(pod_by_the_side(), BACKEND_ON_NODE);
	given_cluster_node(pod_by_the_side(), CLUSTER_NODE_OTHER);
	when_received_by(side, opens(client(4000), vip(80)), other_node(), pod(1));
	then_counted(COUNTER_DROP_NOT_A_NODE, 5);
}

static void source_ranges_hold_for_what_others_send(void **state)
{
	struct source_range range = {.prefix = 32 + 128, .addr = client(0).addr};
	__u32 service, yes = 1, backend = 1;

	(void)state;
	given_pods_here();
	service = given_service(vip(80), variant.proto, 1, &backend);
	given_frontend(another_vip(80), variant.proto, FRONTEND_LOAD_BALANCER_IP, service);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 1, &backend);
	range.service = htonl(service);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.source_ranges), &range,
					     &yes, BPF_ANY),
			 0);

	when_received(opens(another_client(4000), another_vip(80)), pod(1));
	then_dropped(COUNTER_DROP_SOURCE_RANGE);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	when_received(opens(client(4000), another_vip(80)), pod(1));
	then_goes_on_as(opens(client(4000), pod(1)));
	when_received(opens(another_client(4001), vip(80)), pod(1));
	then_goes_on_as(opens(another_client(4001), pod(1)));
}

static void what_no_stack_would_take_is_not_unwrapped(void **state)
{
	struct peer nobody = peer(is_ipv4() ? "127.0.0.1" : "::1", 4000);
	struct frame broken = opens(client(4000), vip(80));

	(void)state;
	given_pods_here();
	when_received(opens(nobody, vip(80)), pod(1));
	then_dropped(COUNTER_DROP_MALFORMED);
	if (!is_ipv4())
		return;
	broken.bytes[LINK_HEADER_SIZE + 10] ^= 1;
	when_received(broken, pod(1));
	assert_int_equal(verdict(), TC_ACT_SHOT);
	then_counted(COUNTER_DROP_MALFORMED, 2);
}

/* What is not ours. */

static void packets_to_no_backend_are_left_alone(void **state)
{
	(void)state;
	given_pods_here();

	when_received(opens(client(4000), vip(80)), pod(3));
	then_goes_on();
	when_asked(encapsulated(opens(client(4000), vip(80)), stranger(), pod(3)));
	then_goes_on();
}

/* It is a router between two others. */
static void packets_to_backends_elsewhere_pass(void **state)
{
	(void)state;
	given_pods_here();
	given_link(overlay, false);

	when_received(opens(client(4000), vip(80)), pod(1));

	then_goes_on();
}

static void tunnels_of_others_may_end_at_a_node_that_is_a_backend(void **state)
{
	(void)state;
	given_pods_here();
	given_address(node(0).addr, ADDRESS_BACKEND);

	when_received(opens(peer("10.2.0.1", 4000), pod(2)), node(BACKEND_PORT));
	then_goes_on();
	when_asked(encapsulated(opens(client(4000), pod(2)), stranger(), node(0)));
	then_goes_on();
}

/* What is inside. */

static struct frame cut_at(struct frame frame, __u32 size)
{
	return frame_cut(&frame, size);
}

static void what_is_cut_short_is_dropped(void **state)
{
	struct frame whole;
	__u32 header = is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE;
	__u32 transport = variant.proto == IPPROTO_TCP ? 20 : 8;
	unsigned dropped = 0;

	(void)state;
	given_pods_here();
	whole = encapsulated(tcp(client(4000), vip(80), SYN), other_node(), pod(1));
	for (__u32 size = LINK_HEADER_SIZE + header;
	     size < LINK_HEADER_SIZE + 2 * header + transport; size++) {
		when_asked(cut_at(whole, size));
		assert_int_equal(verdict(), TC_ACT_SHOT);
		dropped++;
	}
	then_counted(COUNTER_DROP_MALFORMED, dropped);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void only_protocols_of_services_are_unwrapped(void **state)
{
	struct packet_spec spec = opening(client(0), vip(0));

	(void)state;
	given_pods_here();
	spec.proto = IPPROTO_GRE;
	spec.payload = 40;

	when_received(built(spec), pod(1));

	then_dropped(COUNTER_DROP_MALFORMED);
}

static void packets_of_all_shapes_are_unwrapped(void **state)
{
	struct packet_spec inside = opening(client(4000), vip(80));
	struct packet_spec delivered = opening(client(4000), pod(1));

	(void)state;
	given_pods_here();
	inside.ipv4_options = delivered.ipv4_options = is_ipv4() ? 8 : 0;
	inside.payload = delivered.payload = 1001;

	when_received(built(inside), pod(1));

	then_goes_on_as(built(delivered));
}

static void fragments_follow_their_first(void **state)
{
	struct packet_spec inside = opening(client(4000), vip(80));
	struct packet_spec delivered = opening(client(4000), pod(1));

	(void)state;
	given_pods_here();
	inside.payload = delivered.payload = 200;
	inside.no_checksum = delivered.no_checksum = true;
	if (!is_ipv4())
		inside.extensions[0] = delivered.extensions[0] =
			(struct extension){.proto = IPPROTO_FRAGMENT, .size = 8};
	inside.cut_to = delivered.cut_to = 104;
	when_received(built(inside), pod(1));
	then_goes_on_as(built(delivered));

	inside.cut_from = delivered.cut_from = 104;
	inside.cut_to = delivered.cut_to = 208;
	when_received(built(inside), pod(1));
	then_goes_on_as(built(delivered));
}

static void a_fragment_without_its_first_is_dropped(void **state)
{
	struct packet_spec inside = opening(client(4000), vip(80));

	(void)state;
	given_pods_here();
	inside.payload = 200;
	if (!is_ipv4())
		inside.extensions[0] = (struct extension){.proto = IPPROTO_FRAGMENT, .size = 8};
	inside.cut_from = 104;
	inside.cut_to = 208;

	when_received(built(inside), pod(1));

	then_dropped(COUNTER_DROP_FRAGMENT);
}

static void sctp_is_unwrapped(void **state)
{
	struct packet_spec inside, delivered;

	(void)state;
	variant.proto = IPPROTO_SCTP;
	given_pods_here();
	inside = opening(client(4000), vip(80));
	delivered = opening(client(4000), pod(1));
	inside.sctp_chunk = delivered.sctp_chunk = SCTP_INIT;
	inside.payload = delivered.payload = 16;

	when_received(built(inside), pod(1));

	then_goes_on_as(built(delivered));
}

/* Which backend. */

static struct peer counted_up(struct peer backend, unsigned segments)
{
	backend.port = (__u16)(backend.port + segments);
	return backend;
}

/* The kernel numbers what it cuts from one packet, where we wrote the port. */
static void later_segments_are_of_the_same_flow(void **state)
{
	(void)state;
	given_a_flow();
	for (unsigned segments = 1; segments < 128; segments++) {
		when_received(follows(client(4000), dialled_there()), counted_up(pod(1), segments));
		then_goes_on_as(follows(client(4000), pod(1)));
	}
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* Once the last one is over. */
static void a_new_conversation_of_one_client_port_may_go_elsewhere(void **state)
{
	(void)state;
	given_a_flow();
	when_received(tcp(client(4000), dialled_there(), RST), pod(1));

	when_received(opens(client(4000), dialled_there()), pod(2));

	then_goes_on_as(opens(client(4000), pod(2)));
	when_replied(answers(pod(2), client(4000)));
	then_goes_on_as(answers(dialled_there(), client(4000)));
}

/* Another CPU is at work on the last one: its client sends the SYN once more. */
static void a_new_conversation_waits_for_the_last_one_while_that_is_held(void **state)
{
	(void)state;
	given_a_flow();
	when_received(tcp(client(4000), dialled_there(), RST), pod(1));
	given_flows_held(true);

	when_received(opens(client(4000), dialled_there()), pod(2));
	then_dropped(COUNTER_DROP_FLOW_BUSY);

	given_flows_held(false);
	when_received(opens(client(4000), dialled_there()), pod(2));
	then_goes_on_as(opens(client(4000), pod(2)));
}

/* Whoever sends it may be no client at all. */
static void a_syn_on_a_connection_goes_where_that_goes(void **state)
{
	(void)state;
	given_a_flow();
	when_received(follows(client(4000), dialled_there()), pod(1));

	when_received(opens(client(4000), dialled_there()), pod(2));

	then_goes_on_as(opens(client(4000), pod(1)));
	when_received(follows(client(4000), dialled_there()), pod(1));
	then_goes_on_as(follows(client(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

static void datagrams_may_move_to_another_port_of_the_backend(void **state)
{
	struct peer other_port = pod(1);

	(void)state;
	given_a_flow();
	other_port.port = 9000;

	when_received(follows(client(4000), dialled_there()), other_port);

	then_goes_on_as(follows(client(4000), other_port));
}

/* The backend could not tell them apart: the second gets another port of the client. */
static void one_client_port_at_two_frontends_is_told_apart(void **state)
{
	__u16 port;

	(void)state;
	given_a_flow();

	when_received(opens(client(4000), vip(80)), pod(1));

	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	then_goes_on_as(opens(client(port), pod(1)));
	when_replied(answers(pod(1), client(port)));
	then_goes_on_as(answers(vip(80), client(4000)));
	when_replied(follows(pod(1), client(4000)));
	then_goes_on_as(follows(dialled_there(), client(4000)));
}

static void a_flow_by_the_port_of_a_direct_conversation_gets_another_port(void **state)
{
	__u16 port;

	(void)state;
	given_pods_here();
	when_asked(opens(client(4000), pod(1)));
	then_goes_on();

	when_received(opens(client(4000), dialled_there()), pod(1));

	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	then_goes_on_as(opens(client(port), pod(1)));
	when_replied(answers(pod(1), client(port)));
	then_goes_on_as(answers(dialled_there(), client(4000)));
	when_replied(answers(pod(1), client(4000)));
	then_goes_on();
}

/* The network may bring packets straight to the backend's node, from one packet to the next. */
static void a_connection_goes_on_where_its_packets_come_directly(void **state)
{
	(void)state;
	given_pods_here();
	given_frontend(external(80), variant.proto, FRONTEND_EXTERNAL_IP,
		       given_service(vip(80), variant.proto, 0, NULL));
	when_received(opens(client(4000), external(80)), pod(1));
	when_replied(answers(pod(1), client(4000)));
	when_received(follows(client(4000), external(80)), pod(1));

	when_asked(follows(client(4000), external(80)));

	then_goes_on_as(follows(client(4000), pod(1)));
	when_received(follows(client(4000), external(80)), pod(1));
	then_goes_on_as(follows(client(4000), pod(1)));
}

/* Errors. */

static struct packet_spec too_big_about(const struct frame *quote, struct peer to)
{
	return (struct packet_spec){.src = router(),
				    .dst = to,
				    .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				    .icmp_type = is_ipv4() ? 3 : 2,
				    .icmp_code = is_ipv4() ? 4 : 0,
				    .icmp_rest = 1280,
				    .quote = quote,
				    .quote_transport = 8};
}

static void errors_about_replies_reach_the_backend(void **state)
{
	struct frame sent, known;

	(void)state;
	given_a_flow();
	sent = follows(dialled_there(), client(4000));
	known = follows(pod(1), client(4000));

	when_received(built(too_big_about(&sent, peer_at(dialled_there(), 0))), pod(1));

	then_goes_on_as(built(too_big_about(&known, peer_at(pod(1), 0))));
	then_counted(COUNTER_ICMP_TRANSLATED, 1);
}

static void errors_about_nothing_known_are_dropped(void **state)
{
	struct frame sent;

	(void)state;
	given_pods_here();
	sent = follows(vip(80), client(4000));

	when_received(built(too_big_about(&sent, vip(0))), pod(1));

	then_dropped(COUNTER_DROP_ICMP);
}

/* Without direct server return: what began before goes on, and nothing new. */
static void flows_outlive_a_change_to_source_nat(void **state)
{
	struct flow flow;
	struct flow_key key = {};

	(void)state;
	given_pods_here();
	when_received(opens(client(4000), dialled_there()), pod(1));
	then_goes_on();
	when_asked(encapsulated(opens(client(4000), vip(80)), stranger(), pod(1)));
	then_goes_on();

	key.src = client(0).addr;
	key.dst = dialled_there().addr;
	key.src_port = htons(4000);
	key.dst_port = htons(NODE_PORT);
	key.proto = variant.proto;
	flow = (struct flow){
		.check = flow_check_of(&key),
		.new_src = client(0).addr,
		.new_dst = pod(1).addr,
		.new_src_port = htons(4000),
		.new_dst_port = htons(BACKEND_PORT),
		.last_use_s = seconds_now(),
		.state = FLOW_ESTABLISHED,
		.flags = FLOW_DSR_RECEIVED,
	};
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(programs->maps.new_flows), &key, &flow, BPF_ANY),
		0);
	when_received(follows(client(4000), dialled_there()), pod(1));
	then_goes_on_as(follows(client(4000), pod(1)));
}

int main(void)
{
	const struct CMUnitTest dsr[] = {
		EACH(a_conversation_reaches_the_backend_and_is_answered_as_the_frontend),
		EACH(who_asks_about_a_flow_hears_that_it_is_confirmed),
		EACH(who_asks_too_early_hears_nothing),
		EACH(a_confirmation_that_cannot_be_sent_is_counted),
		EACH(a_node_that_is_the_backend_gets_its_packets),
		EACH(only_nodes_of_the_cluster_are_listened_to),
		EACH(this_node_sends_none_to_itself),
		EACH(a_pod_is_no_node_whatever_it_says),
		EACH(a_node_is_believed_only_by_a_link_that_leads_to_it),
		EACH(a_flow_of_one_link_is_not_open_to_another),
		FAMILIES(an_overlay_leads_to_every_node),
		FAMILIES(a_port_leads_where_its_bridge_does),
		FAMILIES(each_of_several_ways_leads_to_a_node),
		FAMILIES(a_link_that_leads_to_pods_elsewhere_leads_to_their_nodes),
		FAMILIES(what_is_no_pod_elsewhere_says_nothing_of_nodes),
		EACH(source_ranges_hold_for_what_others_send),
		FAMILIES(what_no_stack_would_take_is_not_unwrapped),
		EACH(packets_to_no_backend_are_left_alone),
		EACH(packets_to_backends_elsewhere_pass),
		PROTOS(tunnels_of_others_may_end_at_a_node_that_is_a_backend),
		EACH(what_is_cut_short_is_dropped),
		FAMILIES(only_protocols_of_services_are_unwrapped),
		EACH(packets_of_all_shapes_are_unwrapped),
		VARIANT(fragments_follow_their_first, " (IPv4, UDP)", 1),
		VARIANT(fragments_follow_their_first, " (IPv6, UDP)", 3),
		VARIANT(a_fragment_without_its_first_is_dropped, " (IPv4, UDP)", 1),
		VARIANT(a_fragment_without_its_first_is_dropped, " (IPv6, UDP)", 3),
		FAMILIES(sctp_is_unwrapped),
		EACH(later_segments_are_of_the_same_flow),
		FAMILIES(a_new_conversation_of_one_client_port_may_go_elsewhere),
		FAMILIES(a_new_conversation_waits_for_the_last_one_while_that_is_held),
		FAMILIES(a_syn_on_a_connection_goes_where_that_goes),
		VARIANT(datagrams_may_move_to_another_port_of_the_backend, " (IPv4, UDP)", 1),
		VARIANT(datagrams_may_move_to_another_port_of_the_backend, " (IPv6, UDP)", 3),
		EACH(one_client_port_at_two_frontends_is_told_apart),
		FAMILIES(a_connection_goes_on_where_its_packets_come_directly),
		DATAGRAMS(a_flow_by_the_port_of_a_direct_conversation_gets_another_port),
		EACH(errors_about_replies_reach_the_backend),
		EACH(errors_about_nothing_known_are_dropped),
	};
	const struct CMUnitTest source_nat[] = {
		EACH(flows_outlive_a_change_to_source_nat),
	};
	int failed = cmocka_run_group_tests(dsr, load_dsr, datapath_unload);

	return failed | cmocka_run_group_tests(source_nat, outside_load_default, datapath_unload);
}
