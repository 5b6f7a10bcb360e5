/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Flows that another CPU is at work on, for longer than packets wait: on a virtual machine it may
 * stand still meanwhile. What cannot be done now is left for a later packet, and nothing is half
 * done.
 */

#include "bpf/datapath.h"

/* vip(80) has two backends; client(4000) converses with the first. Returns the service's id. */
static __u32 given_conversation(void)
{
	__u32 service, first = 1;

	service = given_pods(2);
	given_slots(service, 1, &first);
	when_ingress(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(1)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
	return service;
}

/* The same, but of the two backends only the other one is there for what comes next. */
static void given_conversation_with_one_that_left(void)
{
	__u32 service = given_conversation(), other = 2;

	given_slots(service, 1, &other);
}

static void then_flow_leads_to(enum flow_place place, struct peer backend)
{
	struct flow flow;

	assert_int_equal(original_place(&flow), place);
	assert_memory_equal(&flow.new_dst, &backend.addr, sizeof(flow.new_dst));
}

/* Else its SYN would go to one backend, and all that follows to the one that it had before. */
static void a_connection_does_not_open_anew_beside_its_old_one(void **state)
{
	(void)state;
	given_conversation_with_one_that_left();
	when_ingress(tcp(client(4000), vip(80), RST));
	given_flows_held(true);

	when_ingress(opens(client(4000), vip(80)));
	then_dropped(COUNTER_DROP_FLOW_BUSY);
	then_flow_leads_to(FLOW_CONFIRMED, pod(1));

	given_flows_held(false);
	when_ingress(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(2)));
	when_egress(answers(pod(2), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(2)));
	then_flow_leads_to(FLOW_CONFIRMED, pod(2));
}

static void datagrams_do_not_move_beside_their_old_flow(void **state)
{
	(void)state;
	given_conversation_with_one_that_left();
	given_flows_held(true);

	when_ingress(follows(client(4000), vip(80)));
	then_dropped(COUNTER_DROP_FLOW_BUSY);
	then_flow_leads_to(FLOW_CONFIRMED, pod(1));

	given_flows_held(false);
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(2)));
	then_counted(COUNTER_RESELECTED, 1);
}

static void a_flow_is_confirmed_by_a_later_packet(void **state)
{
	(void)state;
	(void)given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	given_flows_held(true);

	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
	then_flow_leads_to(FLOW_AMONG_NEW, pod(1));

	given_flows_held(false);
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
	then_flow_leads_to(FLOW_CONFIRMED, pod(1));
}

/* Two frontends with one backend: the second one's flow may have the first one's tuple, but not now. */
static void a_tuple_that_is_held_is_not_taken_over(void **state)
{
	__u32 backend = 1;
	__u16 port;

	(void)state;
	(void)given_conversation();
	given_service(another_vip(80), variant.proto, 1, &backend);
	given_time_passed(TIMEOUT_TCP_ESTABLISHED_S + TIMEOUT_UDP_S);
	given_flows_held(true);

	when_ingress(opens(client(4000), another_vip(80)));

	port = source_port_of(outcome());
	assert_int_not_equal(port, 4000);
	then_goes_on_as(opens(client(port), pod(1)));
	when_egress(answers(pod(1), client(port)));
	then_goes_on_as(answers(another_vip(80), client(4000)));
	then_flow_leads_to(FLOW_CONFIRMED, pod(1));
	given_flows_held(false);
}

/* The backend knows the tuple from elsewhere: the client's next SYN gets another one, but not now. */
static void a_challenged_flow_keeps_its_port(void **state)
{
	struct packet_spec challenge;

	(void)state;
	(void)given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	challenge = segment(pod(1), client(4000), ACK);
	challenge.ack += 5000;
	given_flows_held(true);

	when_egress(built(challenge));
	then_counted(COUNTER_TUPLE_CHANGED, 0);
	when_ingress(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(1)));

	given_flows_held(false);
	when_egress(built(challenge));
	then_counted(COUNTER_TUPLE_CHANGED, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAMILIES(a_connection_does_not_open_anew_beside_its_old_one),
		DATAGRAMS(datagrams_do_not_move_beside_their_old_flow),
		EACH(a_flow_is_confirmed_by_a_later_packet),
		EACH(a_tuple_that_is_held_is_not_taken_over),
		FAMILIES(a_challenged_flow_keeps_its_port),
	};

	return cmocka_run_group_tests_name("flows that are held", tests, datapath_load_default,
					   datapath_unload);
}
