/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The node's own conversations, and those it masquerades, from a port that is a NodePort: their
 * replies are the stack's. And what becomes of flows whose address leaves the node.
 */

#include "bpf/own_peers.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include "base/map.h"

#define UDP_STREAM_S          120
#define FRAGMENT_HEADER_SIZE  8
#define EXTENSION_HEADERS_MAX 8 /* that the programs follow */

static struct peer server(void)
{
	return client(53);
}

/* TCP: nothing that opens no connection is a NodePort's. */

static void a_segment_that_opens_nothing_is_the_stacks(void **state)
{
	static const __u8 flags[] = {SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK};

	(void)state;
	given_outside(1);
	for (size_t i = 0; i < sizeof(flags); i++) {
		when_asked(tcp(server(), node(NODE_PORT), flags[i]));
		then_goes_on();
	}
	then_counted(COUNTER_REJECT_NO_FLOW, 0);
	when_asked(opens(client(4000), node(NODE_PORT)));
	then_returns_as(passed(opening(inner(4000), pod(1))));
}

/* A VIP that no link of the node has is nobody else's. */
static void a_segment_of_no_flow_to_another_vip_is_refused(void **state)
{
	(void)state;
	given_outside(1);
	when_asked(follows(client(4000), external(80)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_FLOW, 1);
}

/* Source ranges say who may use a Service, not whom the node may ask. */
static void a_reply_from_outside_of_the_source_ranges_is_the_stacks(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 1, &(__u32){1});
	given_frontend(node(443), variant.proto, FRONTEND_LOAD_BALANCER_IP, service);

	when_asked(answers(server(), node(443)));
	then_goes_on();
	when_asked(opens(client(4000), node(443)));
	then_dropped(COUNTER_DROP_SOURCE_RANGE);
}

/* UDP: what has left by that port is known. */

static void then_reply_is_the_stacks(struct frame reply)
{
	unsigned flows = map_count(bpf_map__fd(programs->maps.new_flows));

	when_asked(reply);
	then_goes_on();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), flows);
}

static void the_reply_to_a_datagram_of_the_node_is_the_stacks(void **state)
{
	(void)state;
	given_outside(1);

	when_own_leaves(opens(node(NODE_PORT), server()));
	then_goes_on();

	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
}

static void the_reply_to_a_masqueraded_datagram_is_the_stacks(void **state)
{
	(void)state;
	given_outside(1);

	when_masqueraded_leaves(opens(node(NODE_PORT), server()));
	then_goes_on();

	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
}

/* Another address, another port, another NodePort. */
static void only_the_reply_is_the_stacks(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_frontend(node(NODE_PORT + 1), variant.proto, FRONTEND_NODE_PORT, service);
	when_own_leaves(opens(node(NODE_PORT), server()));

	when_asked(opens(another_client(53), node(NODE_PORT)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	when_asked(opens(client(54), node(NODE_PORT)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	when_asked(opens(server(), node(NODE_PORT + 1)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
}

static void a_conversation_is_remembered_as_long_as_either_side_speaks(void **state)
{
	(void)state;
	given_outside(1);
	when_own_leaves(opens(node(NODE_PORT), server()));

	given_time_passed(UDP_STREAM_S - 10);
	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
	given_time_passed(UDP_STREAM_S - 10);
	when_own_leaves(opens(node(NODE_PORT), server()));
	given_time_passed(UDP_STREAM_S - 10);
	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));

	given_time_passed(UDP_STREAM_S + 1);
	when_asked(opens(server(), node(NODE_PORT)));
	then_returns_as(passed(opening(inner(53), pod(1))));
}

static void fragments_of_a_reply_are_the_stacks(void **state)
{
	static const __u32 cuts[][2] = {{0, 48}, {48, 96}, {96, 1000}};
	struct packet_spec reply = answering(server(), node(NODE_PORT));

	(void)state;
	given_outside(1);
	when_own_leaves(opens(node(NODE_PORT), server()));
	reply.payload = 200;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		reply.cut_from = cuts[i][0];
		reply.cut_to = cuts[i][1];
		then_reply_is_the_stacks(built(reply));
	}
}

static void a_datagram_in_fragments_is_remembered(void **state)
{
	struct packet_spec request = opening(node(NODE_PORT), server());

	(void)state;
	given_outside(1);
	request.payload = 200;
	request.cut_to = 48;

	when_own_leaves(built(request));

	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
}

/* Two questions of the hook read such a packet: the second must find the same as the first. */

static void a_chain_that_is_too_long_leads_nowhere_the_second_time_either(void **state)
{
	struct packet_spec spec = opening(node(NODE_PORT), vip(80));
	struct frame frame;

	(void)state;
	given_outside(1);
	spec.extensions[0] =
		(struct extension){IPPROTO_DSTOPTS, 8 * (EXTENSION_HEADERS_MAX + 1), 0};
	frame = built(spec);
	for (__u32 i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		__u8 *header = frame.bytes + frame_transport(&frame) + (size_t)(8 * i);

		header[0] = i < EXTENSION_HEADERS_MAX ? IPPROTO_DSTOPTS : variant.proto;
		header[1] = 0;
	}

	when_own_leaves(frame);

	then_dropped(COUNTER_DROP_MALFORMED);
}

static void what_a_later_fragment_carries_is_not_read_as_a_header(void **state)
{
	struct packet_spec spec = opening(node(NODE_PORT), vip(80));
	struct frame frame;

	(void)state;
	given_outside(1);
	spec.proto = IPPROTO_FRAGMENT;
	spec.cut_from = 48;
	spec.cut_to = 1000;
	spec.payload = 200;
	frame = built(spec);
	frame.bytes[frame_transport(&frame) + FRAGMENT_HEADER_SIZE] = IPPROTO_ICMPV6;

	when_own_leaves(frame);

	then_dropped(COUNTER_DROP_FRAGMENT);
}

/* As netfilter: what a client has opened stays its own, whatever leaves from the node. */
static void a_flow_is_not_disturbed_by_a_datagram_the_other_way(void **state)
{
	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), node(NODE_PORT)));

	when_masqueraded_leaves(opens(node(NODE_PORT), client(4000)));

	when_asked(follows(client(4000), node(NODE_PORT)));
	then_returns_as(passed(following(inner(4000), pod(1))));
}

static void only_ports_that_are_node_ports_are_remembered(void **state)
{
	(void)state;
	given_outside(1);
	when_own_leaves(opens(node(40000), server()));
	when_own_leaves(opens(node(NODE_PORT + 1), server()));
	when_own_leaves(opens(inner(NODE_PORT), server()));
	assert_int_equal(map_count(bpf_map__fd(programs->maps.own_replies)), 0);
}

/* UDP: what was there before the NodePort. */

static void what_a_connected_socket_waits_for_is_the_stacks(void **state)
{
	const struct peer peer = server();
	int fd = given_own_socket(NODE_PORT, &peer);

	(void)state;
	given_outside(1);

	then_reply_is_the_stacks(answers(server(), node(NODE_PORT)));
	when_asked(opens(client(54), node(NODE_PORT)));
	then_returns_as(passed(opening(inner(54), pod(1))));
	when_asked(opens(another_client(53), node(NODE_PORT)));
	then_returns_as(passed(opening(inner(53), pod(1))));
	(void)close(fd);
	when_asked(opens(server(), node(NODE_PORT)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
}

/* A server that was there first gives way, as it does with kube-proxy. */
static void a_socket_that_is_connected_to_nobody_does_not_take_a_node_ports_datagrams(void **state)
{
	int fd = given_own_socket(NODE_PORT, NULL);

	(void)state;
	given_outside(1);

	when_asked(opens(client(4000), node(NODE_PORT)));

	then_returns_as(passed(opening(inner(4000), pod(1))));
	(void)close(fd);
}

/* An address that took a client's place leaves the node. */

static void given_flow_through(struct peer frontend)
{
	given_outside(1);
	when_asked(opens(client(4000), frontend));
	when_answered(answers(pod(1), inner(4000)));
	when_asked(follows(client(4000), frontend));
	then_returns_as(passed(following(inner(4000), pod(1))));
}

static void given_another_source(void)
{
	given_address_left(inner(0).addr);
	given_link_source(overlay, another_client(0).addr);
}

static void a_connection_whose_source_has_left_is_refused(void **state)
{
	(void)state;
	given_flow_through(external(80));
	given_another_source();
	given_time_passed(1);

	when_asked(follows(client(4000), external(80)));

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_FLOW, 1);
	assert_int_equal(original_place(NULL), FLOW_NOWHERE);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 0);
}

/* The stack has no such connection, and says so itself. */
static void a_connection_to_a_node_port_whose_source_has_left_is_the_stacks(void **state)
{
	(void)state;
	given_flow_through(node(NODE_PORT));
	given_another_source();
	given_time_passed(1);

	when_asked(follows(client(4000), node(NODE_PORT)));

	then_goes_on();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 0);
}

static void a_connection_anew_gets_a_source_that_is_there(void **state)
{
	(void)state;
	given_flow_through(external(80));
	given_another_source();
	given_time_passed(1);

	when_asked(opens(client(4000), external(80)));

	then_returns_as(passed(opening(another_client(4000), pod(1))));
}

static void datagrams_whose_source_has_left_get_another_one(void **state)
{
	(void)state;
	given_flow_through(node(NODE_PORT));
	given_another_source();
	given_time_passed(1);

	when_asked(follows(client(4000), node(NODE_PORT)));

	then_returns_as(passed(following(another_client(4000), pod(1))));
	when_answered(follows(pod(1), another_client(4000)));
	then_returns_as(passed(following(node(NODE_PORT), client(4000))));
}

static void a_flow_whose_source_is_there_goes_on(void **state)
{
	(void)state;
	given_flow_through(external(80));
	given_time_passed(1);

	when_asked(follows(client(4000), external(80)));

	then_returns_as(passed(following(inner(4000), pod(1))));
}

#define TCP_ONLY(test) VARIANT(test, " (IPv4)", 0), VARIANT(test, " (IPv6)", 2)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TCP_ONLY(a_segment_that_opens_nothing_is_the_stacks),
		TCP_ONLY(a_segment_of_no_flow_to_another_vip_is_refused),
		TCP_ONLY(a_reply_from_outside_of_the_source_ranges_is_the_stacks),
		DATAGRAMS(the_reply_to_a_datagram_of_the_node_is_the_stacks),
		DATAGRAMS(the_reply_to_a_masqueraded_datagram_is_the_stacks),
		DATAGRAMS(only_the_reply_is_the_stacks),
		DATAGRAMS(a_conversation_is_remembered_as_long_as_either_side_speaks),
		DATAGRAMS(fragments_of_a_reply_are_the_stacks),
		DATAGRAMS(a_datagram_in_fragments_is_remembered),
		VARIANT(a_chain_that_is_too_long_leads_nowhere_the_second_time_either, " (IPv6)",
			3),
		VARIANT(what_a_later_fragment_carries_is_not_read_as_a_header, " (IPv6)", 3),
		DATAGRAMS(a_flow_is_not_disturbed_by_a_datagram_the_other_way),
		DATAGRAMS(only_ports_that_are_node_ports_are_remembered),
		DATAGRAMS(what_a_connected_socket_waits_for_is_the_stacks),
		DATAGRAMS(
			a_socket_that_is_connected_to_nobody_does_not_take_a_node_ports_datagrams),
		TCP_ONLY(a_connection_whose_source_has_left_is_refused),
		TCP_ONLY(a_connection_to_a_node_port_whose_source_has_left_is_the_stacks),
		EACH(a_connection_anew_gets_a_source_that_is_there),
		DATAGRAMS(datagrams_whose_source_has_left_get_another_one),
		EACH(a_flow_whose_source_is_there_goes_on),
	};

	return cmocka_run_group_tests_name("own ports", tests, outside_load_default,
					   datapath_unload);
}
