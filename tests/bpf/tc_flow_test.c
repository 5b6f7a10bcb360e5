/* SPDX-License-Identifier: BSD-2-Clause */

/* Flows: a packet to a frontend opens one, its answer confirms it, and what becomes of it then. */

#include "bpf/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdlib.h>

#include "base/map.h"

static unsigned upper; /* the ifindex of a link above the one that packets come by */

static int load_with_upper_link(void **state)
{
	(void)setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	if (datapath_load_default(state) ||
	    system("ip link add fl-upper type veth peer name fl-lower"))
		return -1;
	upper = if_nametoindex("fl-upper");
	return upper ? 0 : -1;
}

static void given_opened(void)
{
	when_ingress(opens(client(4000), vip(80)));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);
}

static void given_answered(void)
{
	given_opened();
	when_egress(answers(pod(1), client(4000)));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);
}

static void given_established(void)
{
	given_answered();
	when_ingress(follows(client(4000), vip(80)));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);
}

static enum flow_state state_now(void)
{
	struct flow original, reply;

	assert_int_not_equal(original_place(&original), FLOW_NOWHERE);
	assert_int_not_equal(reply_place(&reply), FLOW_NOWHERE);
	assert_int_equal(original.state, reply.state);
	return original.state;
}

static void a_packet_to_a_frontend_goes_to_a_backend(void **state)
{
	(void)state;
	given_pods(1);

	when_ingress(opens(client(4000), vip(80)));

	then_goes_on_as(opens(client(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
	assert_int_equal(reply_place(NULL), FLOW_AMONG_NEW);
}

static void a_reply_comes_from_the_frontend(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();

	when_egress(answers(pod(1), client(4000)));

	then_goes_on_as(answers(vip(80), client(4000)));
}

/* A backend's answer shows only that the backend is there: it may go to a client that never was. */
static void a_flow_is_confirmed_when_its_client_answers_the_backend(void **state)
{
	(void)state;
	given_pods(1);

	given_answered();
	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
	assert_int_equal(reply_place(NULL), FLOW_AMONG_NEW);
	assert_int_equal(state_now(), FLOW_REPLIED);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);

	when_ingress(follows(client(4000), vip(80)));

	assert_int_equal(original_place(NULL), FLOW_CONFIRMED);
	assert_int_equal(reply_place(NULL), FLOW_CONFIRMED);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 1);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 1);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

static void an_established_flow_is_rewritten_both_ways(void **state)
{
	(void)state;
	given_pods(1);
	given_established();

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));

	when_egress(follows(pod(1), client(4000)));
	then_goes_on_as(follows(vip(80), client(4000)));

	then_counted(COUNTER_FORWARDED_NEW, 1);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

static void a_connection_is_followed_to_its_end(void **state)
{
	static const struct {
		bool is_reply;
		__u8 flags;
		enum flow_state after;
	} steps[] = {
		{false, SYN, FLOW_NEW},           {true, SYN | ACK, FLOW_REPLIED},
		{false, ACK, FLOW_ESTABLISHED},   {true, PSH | ACK, FLOW_ESTABLISHED},
		{false, FIN | ACK, FLOW_CLOSING}, {true, ACK, FLOW_CLOSING},
		{false, FIN | ACK, FLOW_CLOSING}, {true, FIN | ACK, FLOW_CLOSED},
		{false, ACK, FLOW_CLOSED},
	};

	(void)state;
	given_pods(1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].is_reply) {
			when_egress(tcp(pod(1), client(4000), steps[i].flags));
			then_goes_on_as(tcp(vip(80), client(4000), steps[i].flags));
		} else {
			when_ingress(tcp(client(4000), vip(80), steps[i].flags));
			then_goes_on_as(tcp(client(4000), pod(1), steps[i].flags));
		}
		assert_int_equal(state_now(), steps[i].after);
	}
}

static void a_reset_closes_a_connection(void **state)
{
	(void)state;
	given_pods(1);
	given_established();

	when_egress(tcp(pod(1), client(4000), RST));

	then_goes_on_as(tcp(vip(80), client(4000), RST));
	assert_int_equal(state_now(), FLOW_CLOSED);

	when_ingress(tcp(client(4000), vip(80), FIN | ACK));

	then_goes_on_as(tcp(client(4000), pod(1), FIN | ACK));
	assert_int_equal(state_now(), FLOW_CLOSED);
}

static void a_refused_connection_is_not_confirmed(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();

	when_egress(tcp(pod(1), client(4000), RST | ACK));

	then_goes_on_as(tcp(vip(80), client(4000), RST | ACK));
	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
	assert_int_equal(state_now(), FLOW_CLOSED);
}

/* A conversation that is answered again and again never expires, whoever says more. */
static void either_direction_keeps_a_flow_alive(void **state)
{
	(void)state;
	given_pods(1);
	given_established();
	for (int i = 0; i < 3; i++) {
		given_time_passed(TIMEOUT_UDP_S - 20);
		when_egress(follows(pod(1), client(4000)));
		then_goes_on_as(follows(vip(80), client(4000)));
	}

	when_ingress(follows(client(4000), vip(80)));

	then_goes_on_as(follows(client(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* A one-way stream, and a SYN that is repeated until the backend wakes up. */
static void a_late_first_reply_finds_its_flow(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();
	for (int i = 0; i < 3; i++) {
		given_time_passed(TIMEOUT_UDP_NEW_S - 5);
		given_opened();
	}

	when_egress(answers(pod(1), client(4000)));

	then_goes_on_as(answers(vip(80), client(4000)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

static void an_expired_flow_counts_as_absent(void **state)
{
	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(TIMEOUT_TCP_ESTABLISHED_S + 1);

	when_egress(follows(pod(1), client(4000)));
	then_goes_on();

	when_ingress(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 2);
	then_counted(COUNTER_RESELECTED, 0);
	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
}

static void half_a_flow_brings_the_other_back(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();
	given_half_left(FLOW_REPLY);
	given_time_passed(2);

	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
}

static void a_lost_reply_half_comes_back_with_the_next_packet(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();
	given_half_left(FLOW_ORIGINAL);
	given_time_passed(2);

	given_opened();
	assert_int_equal(reply_place(NULL), FLOW_AMONG_NEW);
	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
}

static void a_direct_connection_is_left_alone(void **state)
{
	(void)state;
	given_pods(1);

	when_ingress(opens(client(4000), pod(1)));
	then_goes_on();
	when_egress(answers(pod(1), client(4000)));
	then_goes_on();
}

/* A client's direct SYN; each connection has numbers of its own. */
static struct frame opens_directly(void)
{
	struct packet_spec spec = opening(client(4000), pod(1));

	spec.seq = 70000;
	return built(spec);
}

/* The direct conversation gets another source port, as with netfilter, and neither hears of the other. */
static void a_direct_conversation_by_the_port_of_a_flow_gets_another_port(void **state)
{
	struct packet_spec sent = opening(client(4000), pod(1));
	struct packet_spec answered, returned;
	__u16 port;

	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(10);

	when_ingress(opens_directly());

	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	sent.seq = 70000;
	sent.src.port = port;
	then_goes_on_as(built(sent));
	then_counted(COUNTER_DIRECT_TRANSLATED, 1);
	answered = answering(pod(1), client(port));
	returned = answering(pod(1), client(4000));
	answered.ack = returned.ack = variant.proto == IPPROTO_TCP ? 70001 : 0;
	when_egress(built(answered));
	then_goes_on_as(built(returned));

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
	when_egress(follows(pod(1), client(4000)));
	then_goes_on_as(follows(vip(80), client(4000)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* Datagrams; TCP's second SYN meets a challenge, which says the same. */
static void a_flow_by_the_port_of_a_direct_conversation_gets_another_port(void **state)
{
	__u16 port;

	(void)state;
	given_pods(1);
	when_ingress(follows(client(4000), pod(1)));
	then_goes_on();

	when_ingress(follows(client(4000), vip(80)));
	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	then_goes_on_as(follows(client(port), pod(1)));

	when_egress(follows(pod(1), client(port)));
	then_goes_on_as(follows(vip(80), client(4000)));
	when_egress(follows(pod(1), client(4000)));
	then_goes_on();
	when_ingress(follows(client(4000), pod(1)));
	then_goes_on();
	then_counted(COUNTER_DIRECT_TRANSLATED, 0);
}

static void a_direct_conversation_long_ago_takes_no_port(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(follows(client(4000), pod(1)));
	given_time_passed(TIMEOUT_UDP_S + 1);

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
}

/* Nor does one of another port, of another client, or with another backend. */
static void a_flow_beside_direct_conversations_keeps_its_port(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(follows(client(4001), pod(1)));
	when_ingress(follows(another_client(4000), pod(1)));
	when_ingress(follows(client(4000), pod(2)));

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
}

/* Otherwise its answers would come from an address that the client did not dial. */
static void a_direct_connection_forgets_a_flow_that_is_over(void **state)
{
	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(TIMEOUT_TCP_ESTABLISHED_S + 1);

	when_ingress(opens_directly());
	then_goes_on();
	then_counted(COUNTER_FORGOTTEN, 1);
	assert_int_equal(original_place(NULL), FLOW_NOWHERE);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);
	when_egress(answers(pod(1), client(4000)));
	then_goes_on();
}

/* Another CPU is at work on that flow, so it stays, and keeps its port. */
static void a_direct_connection_beside_a_flow_that_is_held_gets_another_port(void **state)
{
	struct packet_spec sent = opening(client(4000), pod(1));

	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(TIMEOUT_TCP_ESTABLISHED_S + 1);
	given_flows_held(true);

	when_ingress(opens_directly());

	assert_int_not_equal(source_port_of(outcome()), 4000);
	sent.seq = 70000;
	sent.src.port = source_port_of(outcome());
	then_goes_on_as(built(sent));
	then_counted(COUNTER_FORGOTTEN, 0);
	given_flows_held(false);
}

/* The old one could not be ended: beside it the connection would begin by one port and go on by another. */
static void a_direct_connection_that_opens_again_while_it_is_held_keeps_its_port(void **state)
{
	struct packet_spec reset = segment(client(4000), pod(1), RST);
	struct packet_spec sent = opening(client(4000), pod(1));

	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(10);
	when_ingress(opens_directly());
	sent.seq = 70000;
	sent.src.port = source_port_of(outcome());
	reset.seq = 70001;
	when_ingress(built(reset));
	given_flows_held(true);

	when_ingress(opens_directly());

	then_goes_on_as(built(sent));
	then_counted(COUNTER_DIRECT_TRANSLATED, 1);
	given_flows_held(false);
}

/* Ingress of a bridge's port, then of the bridge: the second sees what the first has made. */
static void a_packet_seen_again_on_an_upper_link_is_not_a_direct_one(void **state)
{
	struct frame translated;

	(void)state;
	given_pods(1);
	given_established();
	given_time_passed(10);
	when_ingress(follows(client(4000), vip(80)));
	translated = *outcome();

	when_run(programs->progs.fl_ingress, translated, upper, upper);

	then_goes_on();
	then_counted(COUNTER_FORGOTTEN, 0);
	when_egress(follows(pod(1), client(4000)));
	then_goes_on_as(follows(vip(80), client(4000)));
}

static void packets_of_a_backend_without_flows_skip_the_flow_tables(void **state)
{
	(void)state;
	given_pods(1);
	given_established();
	assert_true(address_flows_of(pod(1).addr).new_until_s > 0);

	/* As if no flow could exist, though there is one: it is not looked for. */
	for (__u32 index = 0; index < 8; index++)
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.address_flows),
						     &index, &(struct address_flows){}, BPF_ANY),
				 0);
	when_egress(follows(pod(1), client(4000)));

	then_goes_on();
}

static void two_clients_with_one_port_have_flows_of_their_own(void **state)
{
	(void)state;
	given_pods(1);
	given_opened();
	when_ingress(opens(another_client(4000), vip(80)));

	when_egress(answers(pod(1), another_client(4000)));
	then_goes_on_as(answers(vip(80), another_client(4000)));
	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
}

/* Its Services are gone: what is under way may end, all else is not ours. */
static void a_retired_frontend_serves_established_connections_only(void **state)
{
	struct address_info retired = {.flags = ADDRESS_RETIRED, .index = 2};
	struct frontend frontend = {.vip = vip(80).addr, .port = 0x5000, .proto = IPPROTO_TCP};

	(void)state;
	given_pods(1);
	given_established();
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.addresses), &frontend.vip,
					     &retired, BPF_ANY),
			 0);
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(programs->maps.frontends), &frontend), 0);

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
	when_ingress(opens(client(4001), vip(80)));
	then_goes_on();
	when_ingress(
		packet(.src = client(0), .dst = vip(0), .icmp_type = 13,
		       .proto = variant.family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6));
	then_goes_on();
}

/* Rule J123: datagrams have no connection to finish. */
static void datagrams_end_with_their_frontend(void **state)
{
	struct address_info retired = {.flags = ADDRESS_RETIRED, .index = 2};
	struct ip_addr addr = vip(80).addr;
	struct flow flow;

	(void)state;
	given_pods(1);
	given_established();
	given_no_frontend(vip(80), variant.proto);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.addresses), &addr, &retired,
					     BPF_ANY),
			 0);

	when_ingress(follows(client(4000), vip(80)));

	then_goes_on();
	assert_int_equal(original_place(&flow), FLOW_NOWHERE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_packet_to_a_frontend_goes_to_a_backend),
		EACH(a_reply_comes_from_the_frontend),
		EACH(a_flow_is_confirmed_when_its_client_answers_the_backend),
		EACH(an_established_flow_is_rewritten_both_ways),
		FAMILIES(a_connection_is_followed_to_its_end),
		FAMILIES(a_reset_closes_a_connection),
		FAMILIES(a_refused_connection_is_not_confirmed),
		EACH(either_direction_keeps_a_flow_alive),
		EACH(a_late_first_reply_finds_its_flow),
		EACH(an_expired_flow_counts_as_absent),
		EACH(half_a_flow_brings_the_other_back),
		EACH(a_lost_reply_half_comes_back_with_the_next_packet),
		EACH(a_direct_connection_is_left_alone),
		EACH(a_direct_conversation_by_the_port_of_a_flow_gets_another_port),
		DATAGRAMS(a_flow_by_the_port_of_a_direct_conversation_gets_another_port),
		DATAGRAMS(a_direct_conversation_long_ago_takes_no_port),
		DATAGRAMS(a_flow_beside_direct_conversations_keeps_its_port),
		EACH(a_direct_connection_forgets_a_flow_that_is_over),
		EACH(a_direct_connection_beside_a_flow_that_is_held_gets_another_port),
		FAMILIES(a_direct_connection_that_opens_again_while_it_is_held_keeps_its_port),
		EACH(a_packet_seen_again_on_an_upper_link_is_not_a_direct_one),
		EACH(packets_of_a_backend_without_flows_skip_the_flow_tables),
		EACH(two_clients_with_one_port_have_flows_of_their_own),
		FAMILIES(a_retired_frontend_serves_established_connections_only),
		DATAGRAMS(datagrams_end_with_their_frontend),
	};

	return cmocka_run_group_tests_name("flows", tests, load_with_upper_link, datapath_unload);
}
