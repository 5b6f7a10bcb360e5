/* SPDX-License-Identifier: BSD-2-Clause */

/* A pod that reaches itself through its Service, and flows that only another source port tells
 * apart. */

#include "bpf/datapath.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <string.h>

#define PORT_MIN 61000
#define PORTS    4

static void make_ports_scarce(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.source_port_min = PORT_MIN;
	skeleton->rodata->config.source_port_max = PORT_MIN + PORTS - 1;
	skeleton->rodata->config.low_port_min = 0;
}

static int load_scarce(void **state)
{
	(void)state;
	return datapath_load(make_ports_scarce);
}

static struct peer pod_client(__u16 port)
{
	struct peer made = pod(1);

	made.port = port;
	return made;
}

/* Sent back by us: one hop less, to where it came from. */
static struct frame hopped(struct packet_spec spec)
{
	spec.ttl = TTL_DEFAULT - 1;
	spec.is_returned = true;
	return built(spec);
}

static void a_pod_reaches_itself_through_its_service(void **state)
{
	(void)state;
	given_pods(1);

	when_ingress(opens(pod_client(4000), vip(80)));
	then_returns_as(hopped(opening(vip(4000), pod(1))));

	when_ingress(answers(pod(1), vip(4000)));
	then_returns_as(hopped(answering(vip(80), pod_client(4000))));

	when_ingress(follows(pod_client(4000), vip(80)));
	then_returns_as(hopped(following(vip(4000), pod(1))));

	when_ingress(follows(pod(1), vip(4000)));
	then_returns_as(hopped(following(vip(80), pod_client(4000))));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* It was translated on its way in; on its way out of the same link nothing is left to do. */
static void a_returned_packet_passes_egress_as_it_is(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(opens(pod_client(4000), vip(80)));

	when_egress(*outcome());

	then_goes_on();
}

static void a_hairpin_packet_dies_when_its_hops_run_out(void **state)
{
	struct packet_spec spec = opening(pod_client(4000), vip(80));

	(void)state;
	given_pods(1);
	spec.ttl = 1;

	when_ingress(built(spec));

	then_dropped(COUNTER_DROP_TTL);
}

static void a_late_hairpin_reply_does_not_leave_untranslated(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(opens(pod_client(4000), vip(80)));
	given_time_passed(TIMEOUT_TCP_NEW_S + 1);

	when_ingress(answers(pod(1), vip(4000)));

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_PORT, 1);
}

/* The source port of the last packet. */
static __u16 source_port(void)
{
	__be16 port;

	assert_int_equal(verdict(), TC_ACT_UNSPEC);
	memcpy(&port, outcome()->bytes + frame_transport(outcome()), sizeof(port));
	return ntohs(port);
}

static void two_frontends_with_one_backend_are_told_apart(void **state)
{
	__u32 backend = 1;
	__u16 port;

	(void)state;
	given_pods(1);
	given_service(another_vip(90), variant.proto, 1, &backend);
	when_ingress(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(1)));

	when_ingress(opens(client(4000), another_vip(90)));

	port = source_port();
	assert_between(port, PORT_MIN, PORT_MIN + PORTS - 1);
	then_goes_on_as(opens(client(port), pod(1)));

	when_egress(answers(pod(1), client(port)));
	then_goes_on_as(answers(another_vip(90), client(4000)));
	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
	when_ingress(follows(client(4000), another_vip(90)));
	then_goes_on_as(follows(client(port), pod(1)));
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
}

/* While the backend may be in TIME_WAIT its port had better not be used by others. */
static void a_connection_that_ended_leaves_its_port_to_others_later(void **state)
{
	__u32 backend = 1;

	(void)state;
	given_pods(1);
	given_service(another_vip(89), variant.proto, 1, &backend);
	given_service(another_vip(90), variant.proto, 1, &backend);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	when_ingress(tcp(client(4000), vip(80), RST));
	when_ingress(opens(client(4000), another_vip(89)));
	assert_int_not_equal(source_port_of(outcome()), 4000);
	given_time_passed(TIMEOUT_TCP_CLOSED_S + 1);

	when_ingress(opens(client(4000), another_vip(90)));

	then_goes_on_as(opens(client(4000), pod(1)));
	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(another_vip(90), client(4000)));
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
}

/* More frontends than ports: those that get one work, the others are counted. */
static void ports_that_run_out_are_counted(void **state)
{
	__u32 backend = 1;
	unsigned refused = 0;

	(void)state;
	given_pods(1);
	for (__u16 port = 81; port < 90; port++)
		given_service(vip(port), variant.proto, 1, &backend);

	for (__u16 port = 80; port < 90; port++) {
		__u16 given;

		when_ingress(opens(client(4000), vip(port)));
		if (verdict() == TC_ACT_SHOT) {
			refused++;
			continue;
		}
		given = source_port_of(outcome());
		when_egress(answers(pod(1), client(given)));
		when_ingress(follows(client(4000), vip(port)));
	}

	assert_between(refused, 10 - 1 - PORTS, 10 - 1);
	then_counted(COUNTER_DROP_NO_PORT_FREE, refused);
	then_counted(COUNTER_FORWARDED_NEW, 10 - refused);
}

/* Its half was pushed out and its port given away: ending it must not end the other's. */
static void a_flow_that_lost_its_port_does_not_end_its_successor(void **state)
{
	__u32 backend = 1;

	(void)state;
	given_pods(1);
	given_service(another_vip(90), variant.proto, 1, &backend);
	when_ingress(opens(client(4000), vip(80)));
	given_half_left(FLOW_ORIGINAL);
	when_ingress(opens(client(4000), another_vip(90)));
	when_egress(answers(pod(1), client(4000)));
	then_goes_on_as(answers(another_vip(90), client(4000)));

	given_backend_reused(1, pod(7)); /* ends the first flow at its next packet */
	when_ingress(opens(client(4000), vip(80)));

	when_egress(follows(pod(1), client(4000)));
	then_goes_on_as(follows(another_vip(90), client(4000)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_pod_reaches_itself_through_its_service),
		EACH(a_returned_packet_passes_egress_as_it_is),
		EACH(a_hairpin_packet_dies_when_its_hops_run_out),
		EACH(a_late_hairpin_reply_does_not_leave_untranslated),
		EACH(two_frontends_with_one_backend_are_told_apart),
		FAMILIES(a_connection_that_ended_leaves_its_port_to_others_later),
		EACH(ports_that_run_out_are_counted),
		EACH(a_flow_that_lost_its_port_does_not_end_its_successor),
	};

	return cmocka_run_group_tests_name("hairpin", tests, load_scarce, datapath_unload);
}
