/* SPDX-License-Identifier: BSD-2-Clause */

/* Selection: which backend answers, and how long a client keeps it. */

#include "bpf/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#define CLIENTS 600

/* The number of the pod that the last packet went to. */
static unsigned served_by(void)
{
	const __u8 *network = outcome()->bytes + LINK_HEADER_SIZE;

	assert_int_equal(verdict(), TC_ACT_UNSPEC);
	return variant.family == FAMILY_IPV4 ? network[19] : network[39];
}

static unsigned asked(struct peer who)
{
	when_ingress(opens(who, vip(80)));
	return served_by();
}

static void given_established(struct peer who)
{
	unsigned backend = asked(who);

	when_egress(answers(pod(backend), who));
	when_ingress(follows(who, vip(80)));
}

static void every_backend_gets_its_share(void **state)
{
	unsigned served[4] = {};

	(void)state;
	given_pods(3);

	for (__u16 i = 0; i < CLIENTS; i++) {
		unsigned backend = asked(client((__u16)(10000 + i)));

		assert_between(backend, 1, 3);
		served[backend]++;
	}

	/* Six standard deviations from a third: by chance once in 10^9 runs. */
	for (unsigned i = 1; i <= 3; i++)
		assert_between(served[i], CLIENTS / 3 - 70, CLIENTS / 3 + 70);
}

static void a_client_with_affinity_keeps_its_backend(void **state)
{
	unsigned backend;

	(void)state;
	given_affinity(given_pods(50), 100);

	backend = asked(client(4000));
	for (__u16 port = 4001; port < 4020; port++)
		assert_int_equal(asked(client(port)), backend);
}

static void affinity_lasts_as_long_as_it_is_used(void **state)
{
	unsigned backend;

	(void)state;
	given_affinity(given_pods(50), 100);
	backend = asked(client(4000));
	for (__u16 port = 4001; port < 4005; port++) {
		given_time_passed(90);
		assert_int_equal(asked(client(port)), backend);
	}
}

static __u32 affinity_last_use(__u32 service)
{
	struct affinity_key key = {.client = client(0).addr, .service = service};
	struct affinity entry;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(programs->maps.affinity), &key, &entry),
			 0);
	return entry.last_use_s;
}

/* Rule H103. */
static void packets_of_a_flow_do_not_make_affinity_last(void **state)
{
	__u32 service = given_pods(1), before;

	(void)state;
	given_affinity(service, 100);
	when_ingress(opens(client(4000), vip(80)));
	given_time_passed(5);
	before = affinity_last_use(service);

	when_ingress(follows(client(4000), vip(80)));
	assert_int_equal(affinity_last_use(service), before);

	when_ingress(opens(client(4001), vip(80)));
	assert_between(affinity_last_use(service), before + 5, before + 10);
}

/* Rule H102. */
static void each_service_port_has_affinity_of_its_own(void **state)
{
	__u32 service = given_pods(2), backends[] = {1, 2}, other, wrong;
	unsigned first;

	(void)state;
	other = given_service(vip(81), variant.proto, 2, backends);
	given_affinity(service, 100);
	given_affinity(other, 100);
	first = asked(client(4000));
	wrong = 3 - first;
	given_slots(other, 1, &wrong);

	when_ingress(opens(client(4001), vip(81)));

	(void)affinity_last_use(other);
	for (__u16 port = 4002; port < 4012; port++)
		assert_int_equal(asked(client(port)), first);
}

static void affinity_ends_after_its_timeout(void **state)
{
	unsigned moved = 0, backend;

	(void)state;
	given_affinity(given_pods(50), 100);
	for (__u16 port = 4000; port < 4010; port++) {
		backend = asked(client(port));
		given_time_passed(102);
		moved += asked(client((__u16)(port + 100))) != backend;
		given_time_passed(102);
	}
	assert_true(moved >= 5);
}

static void affinity_does_not_lead_to_a_backend_that_left(void **state)
{
	__u32 service = given_pods(50), others[49], count = 0;
	unsigned backend;

	(void)state;
	given_affinity(service, 100);
	backend = asked(client(4000));
	for (__u32 id = 1; id <= 50; id++) {
		if (id != backend)
			others[count++] = id;
	}
	given_slots(service, count, others);

	for (__u16 port = 4001; port < 4020; port++)
		assert_int_not_equal(asked(client(port)), backend);
}

static void affinity_does_not_take_a_reused_id_for_the_backend_it_was(void **state)
{
	struct affinity entry;
	struct affinity_key key = {.client = client(0).addr, .service = 1};
	unsigned first;

	(void)state;
	given_affinity(given_pods(2), 100);
	first = asked(client(4000));
	given_backend_reused(first, pod(7));

	(void)asked(client(4001));

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(programs->maps.affinity), &key, &entry),
			 0);
	assert_int_equal(entry.generation, entry.backend == first ? 2 : 1);
}

static void a_draining_backend_keeps_its_connections(void **state)
{
	__u32 service = given_pods(2), other;

	(void)state;
	given_established(client(4000));
	when_ingress(follows(client(4000), vip(80)));
	other = served_by() == 1 ? 2 : 1;
	given_backend_state(3 - other, BACKEND_DRAINING);
	given_slots(service, 1, &other);

	when_ingress(follows(client(4000), vip(80)));

	then_goes_on_as(follows(client(4000), pod(3 - other)));
}

static void datagrams_move_away_from_a_backend_that_left(void **state)
{
	__u32 service = given_pods(2), other;

	(void)state;
	given_established(client(4000));
	when_ingress(follows(client(4000), vip(80)));
	other = served_by() == 1 ? 2 : 1;
	given_backend_state(3 - other, BACKEND_DRAINING);
	given_slots(service, 1, &other);

	when_ingress(follows(client(4000), vip(80)));

	then_goes_on_as(follows(client(4000), pod(other)));
	then_counted(COUNTER_RESELECTED, 1);
}

/* Rule J120: those of a flow that is there as well. */
static void datagrams_are_refused_when_no_backend_is_left(void **state)
{
	__u32 service = given_pods(1);

	(void)state;
	given_established(client(4000));
	given_no_slots(service, EMPTY_REJECT);

	when_ingress(follows(client(4000), vip(80)));

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_BACKEND, 1);
}

/* Rule J122: no flow without a backend, so none to be stuck in. */
static void a_refused_datagram_is_no_flow(void **state)
{
	__u32 service = given_pods(1), backend = 1;

	(void)state;
	given_no_slots(service, EMPTY_REJECT);
	when_ingress(opens(client(4000), vip(80)));
	then_counted(COUNTER_REJECT_NO_BACKEND, 1);
	given_slots(service, 1, &backend);

	when_ingress(opens(client(4000), vip(80)));

	then_goes_on_as(opens(client(4000), pod(1)));
}

static void datagrams_stay_where_they_are_when_others_come_and_go(void **state)
{
	__u32 service = given_pods(2), three[] = {1, 2, 3};
	unsigned backend;

	(void)state;
	given_established(client(4000));
	when_ingress(follows(client(4000), vip(80)));
	backend = served_by();
	assert_int_equal(given_backend(pod(3), variant.proto), 3);
	given_slots(service, 3, three);
	for (int i = 0; i < 10; i++) {
		when_ingress(follows(client(4000), vip(80)));
		assert_int_equal(served_by(), backend);
	}
	then_counted(COUNTER_RESELECTED, 0);
}

/* The id came back with another address: its old one is nobody's backend. */
static void datagrams_do_not_follow_a_reused_id(void **state)
{
	(void)state;
	given_pods(1);
	given_established(client(4000));
	given_backend_reused(1, pod(7));

	when_ingress(follows(client(4000), vip(80)));

	then_goes_on_as(follows(client(4000), pod(7)));
}

static void given_a_dead_backend_on_a_connection(void)
{
	__u32 service = given_pods(1), other = given_backend(pod(2), variant.proto);

	given_established(client(4000));
	given_slots(service, 1, &other);
	given_backend_state(1, BACKEND_DEAD);
}

/* Both sides have closed, but the backend has not heard yet that the client knows. */
static void the_last_acknowledgement_reaches_a_dead_backend(void **state)
{
	struct packet_spec fins[2], last, passed_on;

	(void)state;
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	fins[0] = segment(client(4000), vip(80), FIN | ACK);
	fins[0].seq += following(client(4000), vip(80)).payload;
	fins[1] = segment(pod(1), client(4000), FIN | ACK);
	when_ingress(built(fins[0]));
	when_egress(built(fins[1]));
	given_backend_state(1, BACKEND_DEAD);

	last = segment(client(4000), vip(80), ACK);
	last.seq = fins[0].seq + 1;
	last.ack = fins[1].seq + 1;
	when_ingress(built(last));

	passed_on = last;
	passed_on.dst = pod(1);
	then_goes_on_as(built(passed_on));
	then_counted(COUNTER_REJECT_DEAD_BACKEND, 0);
	when_egress(built(fins[1])); /* sent once more */
	passed_on = fins[1];
	passed_on.src = vip(80);
	then_goes_on_as(built(passed_on));
}

static void a_connection_to_a_dead_backend_is_reset(void **state)
{
	struct packet_spec reset = segment(vip(80), client(4000), RST);

	(void)state;
	given_a_dead_backend_on_a_connection();
	reset.seq = 1001;
	reset.is_fresh = reset.is_returned = true;

	when_ingress(follows(client(4000), vip(80)));

	then_returns_as(built(reset));
	then_counted(COUNTER_REJECT_DEAD_BACKEND, 1);
	assert_int_equal(original_place(NULL), FLOW_NOWHERE);
	assert_int_equal(reply_place(NULL), FLOW_NOWHERE);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
}

static void a_connection_does_not_follow_a_reused_id(void **state)
{
	(void)state;
	given_pods(1);
	given_established(client(4000));
	given_backend_reused(1, pod(7));

	when_ingress(follows(client(4000), vip(80)));

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_DEAD_BACKEND, 1);
}

static void a_repeated_syn_goes_where_the_first_went(void **state)
{
	unsigned backend;

	(void)state;
	given_pods(50);
	backend = asked(client(4000));
	for (int i = 0; i < 20; i++)
		assert_int_equal(asked(client(4000)), backend);
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

static void a_repeated_syn_leaves_a_backend_that_left(void **state)
{
	__u32 service = given_pods(1), other = given_backend(pod(2), variant.proto);

	(void)state;
	assert_int_equal(asked(client(4000)), 1);
	given_backend_state(1, BACKEND_DRAINING);
	given_slots(service, 1, &other);

	assert_int_equal(asked(client(4000)), 2);

	then_counted(COUNTER_FORWARDED_NEW, 2);
	assert_int_equal(flow_place(pod(2), client(4000), FLOW_REPLY, NULL), FLOW_AMONG_NEW);
	assert_int_equal(reply_place(NULL), FLOW_NOWHERE);
}

static void a_frontend_of_another_protocol_is_another_service(void **state)
{
	__u8 other = variant.proto == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP;
	__u32 backend;

	(void)state;
	given_pods(1);
	backend = given_backend(pod(2), other);
	given_service(vip(80), other, 1, &backend);

	assert_int_equal(asked(client(4000)), 1);
	variant.proto = other;
	assert_int_equal(asked(client(4000)), 2);
}

static void policy_local_chooses_among_the_local_ones(void **state)
{
	__u32 service = given_pods(3);
	struct service entry;
	int map = bpf_map__fd(programs->maps.services);

	(void)state;
	assert_int_equal(bpf_map_lookup_elem(map, &service, &entry), 0);
	entry.flags |= SERVICE_INTERNAL_LOCAL;
	entry.local_slots = (struct slot_range){.first = 2, .count = 1};
	assert_int_equal(bpf_map_update_elem(map, &service, &entry, BPF_ANY), 0);

	for (__u16 port = 4000; port < 4010; port++)
		assert_int_equal(asked(client(port)), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(every_backend_gets_its_share),
		EACH(a_client_with_affinity_keeps_its_backend),
		EACH(affinity_lasts_as_long_as_it_is_used),
		EACH(packets_of_a_flow_do_not_make_affinity_last),
		EACH(each_service_port_has_affinity_of_its_own),
		EACH(affinity_ends_after_its_timeout),
		EACH(affinity_does_not_lead_to_a_backend_that_left),
		EACH(affinity_does_not_take_a_reused_id_for_the_backend_it_was),
		FAMILIES(a_draining_backend_keeps_its_connections),
		VARIANT(datagrams_move_away_from_a_backend_that_left, " (IPv4)", 1),
		VARIANT(datagrams_move_away_from_a_backend_that_left, " (IPv6)", 3),
		VARIANT(datagrams_are_refused_when_no_backend_is_left, " (IPv4)", 1),
		VARIANT(datagrams_are_refused_when_no_backend_is_left, " (IPv6)", 3),
		EACH(a_refused_datagram_is_no_flow),
		VARIANT(datagrams_stay_where_they_are_when_others_come_and_go, " (IPv4)", 1),
		VARIANT(datagrams_stay_where_they_are_when_others_come_and_go, " (IPv6)", 3),
		VARIANT(datagrams_do_not_follow_a_reused_id, " (IPv4)", 1),
		VARIANT(datagrams_do_not_follow_a_reused_id, " (IPv6)", 3),
		FAMILIES(the_last_acknowledgement_reaches_a_dead_backend),
		FAMILIES(a_connection_to_a_dead_backend_is_reset),
		FAMILIES(a_connection_does_not_follow_a_reused_id),
		FAMILIES(a_repeated_syn_goes_where_the_first_went),
		FAMILIES(a_repeated_syn_leaves_a_backend_that_left),
		EACH(a_frontend_of_another_protocol_is_another_service),
		EACH(policy_local_chooses_among_the_local_ones),
	};

	return cmocka_run_group_tests_name("selection", tests, datapath_load_default,
					   datapath_unload);
}
