/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Strangers: packets with the addresses and ports of a flow, sent by somebody who does not know its
 * numbers. They are passed on, for their receiver to judge, and change nothing (RFC 5961, RFC 9293,
 * RFC 9260). What the receiver would believe changes the flow.
 */

#include "bpf/datapath.h"

#include <bpf/bpf.h>

#define CLIENT_SENT 1001U /* the numbers of a conversation without data, from both sides */
#define POD_SENT    1001U

static enum flow_state state_now(void)
{
	struct flow original, reply;

	assert_int_not_equal(original_place(&original), FLOW_NOWHERE);
	assert_int_not_equal(reply_place(&reply), FLOW_NOWHERE);
	assert_int_equal(original.state, reply.state);
	return original.state;
}

static struct frame numbered(struct peer src, struct peer dst, __u8 flags, __u32 seq, __u32 ack)
{
	struct packet_spec spec = segment(src, dst, flags);

	spec.seq = seq;
	spec.ack = ack;
	return built(spec);
}

/* From the client's side to the frontend; then the backend gets the very same. */
static void when_client_sends(__u8 flags, __u32 seq, __u32 ack)
{
	when_ingress(numbered(client(4000), vip(80), flags, seq, ack));
	then_goes_on_as(numbered(client(4000), pod(1), flags, seq, ack));
}

static void when_pod_sends(__u8 flags, __u32 seq, __u32 ack)
{
	when_egress(numbered(pod(1), client(4000), flags, seq, ack));
	then_goes_on_as(numbered(vip(80), client(4000), flags, seq, ack));
}

static void given_opened(void)
{
	given_pods(1);
	when_client_sends(SYN, CLIENT_SENT - 1, 0);
}

static void given_answered(void)
{
	given_opened();
	when_pod_sends(SYN | ACK, POD_SENT - 1, CLIENT_SENT);
}

static void given_established(void)
{
	given_answered();
	when_client_sends(ACK, CLIENT_SENT, POD_SENT);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

/* Any number but the right one: near it, far from it, on the other side of the circle. */
static const __u32 strange[] = {1,      2,        100,      1460,        65535,       65536,
				100000, 1U << 20, 1U << 24, 1U << 30,    1U << 31,    -1U,
				-2U,    -1460U,   -65535U,  -(1U << 20), -(1U << 30), 0x12345678};

#define STRANGE_COUNT (sizeof(strange) / sizeof(strange[0]))

static void a_strangers_reset_closes_nothing(void **state)
{
	(void)state;
	given_established();

	for (size_t i = 0; i < STRANGE_COUNT; i++) {
		when_client_sends(RST, CLIENT_SENT + strange[i], 0);
		assert_int_equal(state_now(), FLOW_ESTABLISHED);
		when_pod_sends(RST | ACK, POD_SENT + strange[i], CLIENT_SENT);
		assert_int_equal(state_now(), FLOW_ESTABLISHED);
	}
}

/* Its checksum is wrong: its receiver drops it. */
static struct frame damaged(struct packet_spec spec)
{
	struct frame frame = built(spec);

	frame.bytes[frame.size - 3] ^= 1;
	return frame;
}

static void a_reset_with_a_wrong_checksum_closes_nothing(void **state)
{
	struct packet_spec spec = segment(client(4000), vip(80), RST);

	(void)state;
	given_established();
	spec.seq = CLIENT_SENT;

	when_ingress(damaged(spec));

	assert_int_equal(verdict(), TC_ACT_UNSPEC);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

static void a_fin_with_a_wrong_checksum_closes_nothing(void **state)
{
	struct packet_spec spec = segment(client(4000), vip(80), FIN | ACK);

	(void)state;
	given_established();
	spec.seq = CLIENT_SENT;
	spec.ack = POD_SENT;

	when_ingress(damaged(spec));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);

	when_ingress(built(spec));
	assert_int_equal(state_now(), FLOW_CLOSING);
}

static void a_reset_that_is_believed_closes(void **state)
{
	(void)state;
	given_established();

	when_client_sends(RST, CLIENT_SENT, 0);

	assert_int_equal(state_now(), FLOW_CLOSED);
}

/* What the backend has acknowledged is what it expects, though the client has sent more. */
static void a_reset_answers_what_was_acknowledged(void **state)
{
	(void)state;
	given_established();
	when_client_sends(PSH | ACK, CLIENT_SENT, POD_SENT);
	when_client_sends(PSH | ACK, CLIENT_SENT + 11, POD_SENT);
	when_pod_sends(ACK, POD_SENT, CLIENT_SENT + 11);

	when_client_sends(RST, CLIENT_SENT + 11, 0);

	assert_int_equal(state_now(), FLOW_CLOSED);
}

static void a_strangers_fin_closes_nothing(void **state)
{
	(void)state;
	given_established();

	for (size_t i = 0; i < STRANGE_COUNT; i++) {
		if (strange[i] < 65536) /* inside of the window: the receiver would take it */
			continue;
		when_client_sends(FIN | ACK, CLIENT_SENT + strange[i], POD_SENT);
		assert_int_equal(state_now(), FLOW_ESTABLISHED);
		when_pod_sends(FIN | ACK, POD_SENT + strange[i], CLIENT_SENT);
		assert_int_equal(state_now(), FLOW_ESTABLISHED);
	}
}

/* The right number of the client's does not help who does not know the backend's. */
static void a_fin_that_acknowledges_what_was_never_sent_closes_nothing(void **state)
{
	(void)state;
	given_established();

	when_client_sends(FIN | ACK, CLIENT_SENT, POD_SENT + (1U << 24));
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	when_client_sends(FIN, CLIENT_SENT, 0);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

/* 64,000 of them killed 47 connections of 50 once. */
static void a_strangers_syn_changes_nothing(void **state)
{
	(void)state;
	given_established();

	for (size_t i = 0; i < STRANGE_COUNT; i++) {
		when_client_sends(SYN, CLIENT_SENT - 1 + strange[i], 0);
		assert_int_equal(state_now(), FLOW_ESTABLISHED);
	}
	when_client_sends(SYN, CLIENT_SENT - 1, 0); /* and a copy of the client's own */
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	when_client_sends(ACK, CLIENT_SENT, POD_SENT);
	then_counted(COUNTER_FORWARDED_NEW, 1);
	assert_int_equal(original_place(NULL), FLOW_CONFIRMED);
}

static void a_strangers_syn_ack_changes_nothing(void **state)
{
	struct flow before_it, after_it;

	(void)state;
	given_established();
	(void)reply_place(&before_it);

	for (size_t i = 0; i < STRANGE_COUNT; i++)
		when_pod_sends(SYN | ACK, 5000, CLIENT_SENT + strange[i]);
	when_pod_sends(SYN | ACK, POD_SENT - 1, CLIENT_SENT);

	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	(void)reply_place(&after_it);
	assert_int_equal(before_it.sent, after_it.sent);
}

/* Whoever sends it did not see the backend's SYN-ACK. */
static void a_blind_acknowledgement_confirms_nothing(void **state)
{
	(void)state;
	given_answered();

	for (size_t i = 0; i < STRANGE_COUNT; i++) {
		when_client_sends(ACK, CLIENT_SENT, POD_SENT + strange[i]);
		assert_int_equal(state_now(), FLOW_REPLIED);
		assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
	}
	when_client_sends(ACK, CLIENT_SENT, POD_SENT);
	assert_int_equal(original_place(NULL), FLOW_CONFIRMED);
}

/* What a stranger says keeps no flow alive either. */
static void a_stranger_does_not_make_a_flow_live_longer(void **state)
{
	(void)state;
	given_established();
	given_time_passed(TIMEOUT_TCP_ESTABLISHED_S - 10);

	when_client_sends(ACK, CLIENT_SENT, POD_SENT + (1U << 25));
	when_client_sends(ACK, CLIENT_SENT - (1U << 25), POD_SENT);
	when_client_sends(RST, CLIENT_SENT + 7, 0);
	given_time_passed(20);

	when_ingress(numbered(client(4000), vip(80), ACK, CLIENT_SENT, POD_SENT));
	assert_int_equal(counted(COUNTER_REJECT_NO_FLOW), 1);
}

/* The client has forgotten the old connection, and so has the backend: it agrees to another one. */
static void a_syn_that_the_backend_answers_begins_anew(void **state)
{
	(void)state;
	given_established();

	when_client_sends(SYN, 500000, 0);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	when_pod_sends(SYN | ACK, 900000, 500001);
	assert_int_equal(state_now(), FLOW_REPLIED);
	when_client_sends(ACK, 500001, 900001);

	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	when_client_sends(RST, CLIENT_SENT, 0); /* a number of the old one */
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
	when_client_sends(RST, 500001, 0);
	assert_int_equal(state_now(), FLOW_CLOSED);
}

static void a_syn_on_a_closed_connection_chooses_anew(void **state)
{
	(void)state;
	given_established();
	when_client_sends(FIN | ACK, CLIENT_SENT, POD_SENT);
	when_pod_sends(FIN | ACK, POD_SENT, CLIENT_SENT + 1);
	assert_int_equal(state_now(), FLOW_CLOSED);

	when_ingress(numbered(client(4000), vip(80), SYN, 700000, 0));

	then_counted(COUNTER_FORWARDED_NEW, 2);
	assert_int_equal(state_now(), FLOW_NEW);
}

/* Its receiver did not believe it, though we did: both go on. */
static void a_connection_that_goes_on_after_a_reset_is_alive(void **state)
{
	(void)state;
	given_established();
	when_client_sends(RST, CLIENT_SENT, 0);
	assert_int_equal(state_now(), FLOW_CLOSED);
	given_time_passed(3);

	when_pod_sends(PSH | ACK, POD_SENT, CLIENT_SENT);

	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

/* Much was lost on the way here: what follows is measured by what the other side acknowledges. */
static void a_gap_larger_than_our_reach_is_bridged(void **state)
{
	(void)state;
	given_established();

	when_client_sends(PSH | ACK, CLIENT_SENT + (4U << 20), POD_SENT);
	when_pod_sends(ACK, POD_SENT, CLIENT_SENT);
	when_client_sends(FIN | ACK, CLIENT_SENT + (4U << 20) + 11, POD_SENT);
	assert_int_equal(state_now(), FLOW_CLOSING);
}

/* The backend knows the tuple from another connection: the client's next SYN comes by another port. */
static void a_challenge_to_a_syn_changes_the_port(void **state)
{
	struct packet_spec sent = opening(client(4000), pod(1));
	struct packet_spec answered, returned;
	__u16 port;

	(void)state;
	given_opened();

	when_egress(numbered(pod(1), client(4000), ACK, 33333, 44444));
	then_goes_on();
	then_counted(COUNTER_TUPLE_CHANGED, 1);

	when_ingress(opens(client(4000), vip(80)));
	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	sent.src.port = port;
	then_goes_on_as(built(sent));
	answered = answering(pod(1), client(port));
	returned = answering(vip(80), client(4000));
	when_egress(built(answered));
	then_goes_on_as(built(returned));
	when_egress(
		numbered(pod(1), client(4000), ACK, 33333, 44444)); /* of the other connection */
	then_goes_on();
}

/* Others had better not meet a backend that is in TIME_WAIT, while the client itself may go on. */
static void a_closed_flow_keeps_its_tuple(void **state)
{
	struct flow flow;

	(void)state;
	given_pods(1);
	(void)given_service(another_vip(80), IPPROTO_TCP, 1, (__u32[]){1});
	when_client_sends(SYN, CLIENT_SENT - 1, 0);
	when_pod_sends(SYN | ACK, POD_SENT - 1, CLIENT_SENT);
	when_client_sends(ACK, CLIENT_SENT, POD_SENT);
	when_client_sends(FIN | ACK, CLIENT_SENT, POD_SENT);
	when_pod_sends(FIN | ACK, POD_SENT, CLIENT_SENT + 1);
	assert_int_equal(state_now(), FLOW_CLOSED);

	when_ingress(numbered(client(4000), another_vip(80), SYN, 800000, 0));

	assert_int_not_equal(source_port_of(outcome()), 4000);
	assert_int_equal(flow_place(client(4000), vip(80), FLOW_ORIGINAL, &flow), FLOW_CONFIRMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAMILIES(a_strangers_reset_closes_nothing),
		FAMILIES(a_reset_with_a_wrong_checksum_closes_nothing),
		FAMILIES(a_fin_with_a_wrong_checksum_closes_nothing),
		FAMILIES(a_reset_that_is_believed_closes),
		FAMILIES(a_reset_answers_what_was_acknowledged),
		FAMILIES(a_strangers_fin_closes_nothing),
		FAMILIES(a_fin_that_acknowledges_what_was_never_sent_closes_nothing),
		FAMILIES(a_strangers_syn_changes_nothing),
		FAMILIES(a_strangers_syn_ack_changes_nothing),
		FAMILIES(a_blind_acknowledgement_confirms_nothing),
		FAMILIES(a_stranger_does_not_make_a_flow_live_longer),
		FAMILIES(a_syn_that_the_backend_answers_begins_anew),
		FAMILIES(a_syn_on_a_closed_connection_chooses_anew),
		FAMILIES(a_connection_that_goes_on_after_a_reset_is_alive),
		FAMILIES(a_gap_larger_than_our_reach_is_bridged),
		FAMILIES(a_challenge_to_a_syn_changes_the_port),
		FAMILIES(a_closed_flow_keeps_its_tuple),
	};

	return cmocka_run_group_tests_name("strangers", tests, datapath_load_default,
					   datapath_unload);
}
