/* SPDX-License-Identifier: BSD-2-Clause */

/* What XDP forwards: both directions of flows between far clients and backends elsewhere. */

#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

/* RFC 9260, 3.2 */
#define SCTP_DATA 0

/* The destination's bytes in a frame of the variant's family. */
static const __u8 *destination(const struct frame *frame)
{
	return frame->bytes + LINK_HEADER_SIZE + (variant.family == FAMILY_IPV4 ? 16 : 24);
}

static size_t address_size(void)
{
	return variant.family == FAMILY_IPV4 ? 4 : 16;
}

static bool address_equal_to(const struct frame *frame, struct peer peer)
{
	return !memcmp(destination(frame), peer.addr.bytes + 16 - address_size(), address_size());
}

static bool same_destination(const struct frame *a, const struct frame *b)
{
	return !memcmp(destination(a), destination(b), address_size());
}

static void a_conversation_through_each_frontend_is_forwarded(void **state)
{
	(void)state;
	given_outside(1);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		__u16 port = (__u16)(4000 + kind);

		when_client_sends(opens(client(port), dialled(kind)));
		then_redirected_as(sent_to_pods(opening(inner(port), pod(1))));

		when_backend_sends(answers(pod(1), inner(port)));
		then_redirected_as(sent_to_clients(answering(dialled(kind), client(port))));

		when_client_sends(follows(client(port), dialled(kind)));
		then_redirected_as(sent_to_pods(following(inner(port), pod(1))));

		when_backend_sends(follows(pod(1), inner(port)));
		then_redirected_as(sent_to_clients(following(dialled(kind), client(port))));
	}
	then_counted(COUNTER_FORWARDED_NEW, FRONTEND_LOAD_BALANCER_IP);
	then_counted(COUNTER_FORWARDED_XDP, 4 * FRONTEND_LOAD_BALANCER_IP);
}

/* So that the kernel asks for neighbours that only XDP sends to. */
static void once_in_a_while_a_packet_goes_by_tc(void **state)
{
	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	given_neighbours_used(60);

	when_client_sends(opens(client(4000), vip(80)));
	then_goes_up();

	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	given_neighbours_used(-60);
}

/* A client of the same side: frames go back out of the link that they came by. */
static void frames_may_go_back_out_of_their_link(void **state)
{
	__u32 backend, service;
	struct peer there =
		peer(variant.family == FAMILY_IPV4 ? "192.168.0.254" : "fdee::fe", BACKEND_PORT);

	(void)state;
	service = given_outside(0);
	backend = given_backend(there, variant.proto);
	given_slots(service, 1, &backend);

	when_client_sends(opens(client(4000), vip(80)));
	then_sent_back_as(sent_to_clients(opening(node(4000), there)));
	when_client_sends(answers(there, node(4000)));
	then_sent_back_as(sent_to_clients(answering(vip(80), client(4000))));
}

/* As a veth must, whose peer runs no XDP. */
static void frames_may_be_redirected_back(void **state)
{
	__u32 key = uplink | XDP_TARGET_BACK, backend, service;
	struct peer there =
		peer(variant.family == FAMILY_IPV4 ? "192.168.0.254" : "fdee::fe", BACKEND_PORT);

	(void)state;
	service = given_outside(0);
	backend = given_backend(there, variant.proto);
	given_slots(service, 1, &backend);
	assert_int_equal(bpf_map__update_elem(xdp->maps.redirect_targets, &key, sizeof(key),
					      &uplink, sizeof(uplink), BPF_ANY),
			 0);

	when_client_sends(opens(client(4000), vip(80)));

	assert_int_equal(bpf_map__delete_elem(xdp->maps.redirect_targets, &key, sizeof(key), 0), 0);
	then_redirected_as(sent_to_clients(opening(node(4000), there)));
}

/* Every length, so every carry: the checksum is recomputed over all of it each time. */
static void checksums_are_right_whatever_is_in_the_packet(void **state)
{
	(void)state;
	given_outside(1);
	for (__u32 payload = 0; payload < 600; payload += 7) {
		struct packet_spec asked = following(client(4000), vip(80));
		struct packet_spec sent;

		asked.payload = payload;
		asked.tcp_options = payload % 10 * 4;
		asked.ttl = (__u8)(2 + payload % 200);
		asked.seq = payload * 0x01010101;
		if (!payload) {
			when_client_sends(opens(client(4000), vip(80)));
			when_backend_sends(answers(pod(1), inner(4000)));
		}
		sent = asked;
		sent.src = inner(4000);
		sent.dst = pod(1);
		when_client_sends(built(asked));
		then_redirected_as(sent_to_pods(sent));
	}
}

static void datagrams_without_checksum_stay_without(void **state)
{
	struct packet_spec asked = opening(client(4000), vip(80));
	struct packet_spec sent = opening(inner(4000), pod(1));

	(void)state;
	given_outside(1);
	asked.no_checksum = sent.no_checksum = true;

	when_client_sends(built(asked));

	then_redirected_as(sent_to_pods(sent));
}

static struct packet_spec sctp(struct peer src, struct peer dst, __u8 chunk)
{
	return (struct packet_spec){.src = src,
				    .dst = dst,
				    .proto = IPPROTO_SCTP,
				    .sctp_chunk = chunk,
				    .seq = chunk == SCTP_INIT ? 0 : 0x01020304,
				    .payload = 16};
}

/* Its ports are in its checksum, its addresses are not. */
static void an_association_keeps_its_checksum_right(void **state)
{
	__u16 port;

	(void)state;
	variant.proto = IPPROTO_SCTP;
	given_outside(1);
	when_client_sends(built(sctp(another_client(40000), node(NODE_PORT), SCTP_INIT)));

	when_client_sends(built(sctp(client(40000), node(NODE_PORT), SCTP_INIT)));
	port = source_port_of(outcome());
	assert_int_not_equal(port, 40000);
	then_redirected_as(sent_to_pods(sctp(inner(port), pod(1), SCTP_INIT)));
	when_backend_sends(built(sctp(pod(1), inner(port), SCTP_INIT_ACK)));
	then_redirected_as(sent_to_clients(sctp(node(NODE_PORT), client(40000), SCTP_INIT_ACK)));
	when_client_sends(built(sctp(client(40000), node(NODE_PORT), SCTP_DATA)));
	then_redirected_as(sent_to_pods(sctp(inner(port), pod(1), SCTP_DATA)));
}

/* TC and XDP know the same flows: whoever meets a packet goes on with them. */
static void flows_may_change_between_xdp_and_tc(void **state)
{
	(void)state;
	given_outside(3);
	when_asked(opens(client(4000), node(NODE_PORT)));
	for (unsigned i = 0; i < 3; i++) {
		if (address_equal_to(outcome(), pod(i + 1)))
			when_backend_sends(answers(pod(i + 1), inner(4000)));
	}
	then_redirected_as(sent_to_clients(answering(node(NODE_PORT), client(4000))));
	when_client_sends(follows(client(4000), node(NODE_PORT)));
	assert_int_equal(verdict(), XDP_REDIRECT);

	when_client_sends(opens(client(4001), node(NODE_PORT)));
	assert_int_equal(verdict(), XDP_REDIRECT);
	for (unsigned i = 0; i < 3; i++) {
		if (address_equal_to(outcome(), pod(i + 1)))
			when_answered(answers(pod(i + 1), inner(4001)));
	}
	then_returns_as(passed(answering(node(NODE_PORT), client(4001))));
}

/* A SYN on a connection goes where that goes; its backend knows whether it is meant. */
static void a_syn_on_a_connection_changes_nothing(void **state)
{
	struct flow flow;

	(void)state;
	if (variant.proto == IPPROTO_UDP)
		return;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	when_backend_sends(answers(pod(1), inner(4000)));
	when_client_sends(follows(client(4000), vip(80)));
	assert_int_equal(flow_place(client(4000), vip(80), FLOW_ORIGINAL, &flow), FLOW_CONFIRMED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);

	when_client_sends(opens(client(4000), vip(80)));

	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	then_counted(COUNTER_FORWARDED_NEW, 1);
	assert_int_equal(flow_place(client(4000), vip(80), FLOW_ORIGINAL, &flow), FLOW_CONFIRMED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);
}

static void datagrams_move_from_a_backend_that_left(void **state)
{
	__u32 left;

	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	left = given_backend(pod(2), variant.proto);
	given_slots(1, 1, &left);

	when_client_sends(opens(client(4000), vip(80)));

	then_redirected_as(sent_to_pods(opening(inner(4000), pod(2))));
	then_counted(COUNTER_RESELECTED, 1);
}

/* Another CPU is at work on the flow: TC, which comes later, tries once more. */
static void datagrams_do_not_move_while_their_flow_is_held(void **state)
{
	__u32 left;

	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	left = given_backend(pod(2), variant.proto);
	given_slots(1, 1, &left);
	given_flows_held(true);

	when_client_sends(opens(client(4000), vip(80)));
	then_goes_up();

	given_flows_held(false);
	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(2))));
}

static void affinity_is_kept(void **state)
{
	struct frame first;
	__u32 service;

	(void)state;
	service = given_outside(8);
	given_affinity(service, 60);
	when_client_sends(opens(client(4000), vip(80)));
	first = *outcome();
	for (__u16 port = 4001; port < 4020; port++) {
		when_client_sends(opens(client(port), vip(80)));
		assert_int_equal(verdict(), XDP_REDIRECT);
		assert_true(same_destination(&first, outcome()));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_conversation_through_each_frontend_is_forwarded),
		FAMILIES(once_in_a_while_a_packet_goes_by_tc),
		EACH(frames_may_go_back_out_of_their_link),
		FAMILIES(frames_may_be_redirected_back),
		EACH(checksums_are_right_whatever_is_in_the_packet),
		VARIANT(datagrams_without_checksum_stay_without, " (IPv4)", 1),
		FAMILIES(an_association_keeps_its_checksum_right),
		EACH(flows_may_change_between_xdp_and_tc),
		FAMILIES(a_syn_on_a_connection_changes_nothing),
		EACH(datagrams_move_from_a_backend_that_left),
		EACH(datagrams_do_not_move_while_their_flow_is_held),
		EACH(affinity_is_kept),
	};

	return cmocka_run_group_tests_name("XDP forwards", tests, xdp_load, xdp_unload);
}
