/* SPDX-License-Identifier: BSD-2-Clause */

/* Whom clients from outside may ask, what they get, and what is none of our business. */

#include "bpf/outside.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

/* Policies. */

/* pod(1) is elsewhere, pod(2) is here; external traffic is to stay here. */
static __u32 given_external_local(void)
{
	__u32 service = given_outside(1), local = given_backend(pod(2), variant.proto);

	given_backend_flags(local, BACKEND_LOCAL);
	given_local_slots(service, SERVICE_EXTERNAL_LOCAL, 1, &local);
	return service;
}

static void external_policy_local_keeps_far_clients_on_this_node(void **state)
{
	(void)state;
	given_external_local();
	for (enum frontend_kind kind = FRONTEND_NODE_PORT; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_asked(opens(client((__u16)(4000 + kind)), dialled(kind)));
		then_goes_on_as(opens(client((__u16)(4000 + kind)), pod(2)));
		when_asked(follows(client((__u16)(4000 + kind)), dialled(kind)));
		then_goes_on_as(follows(client((__u16)(4000 + kind)), pod(2)));
	}
}

static void external_policy_local_says_nothing_of_cluster_ips(void **state)
{
	(void)state;
	given_external_local();

	when_asked(opens(client(4000), vip(80)));

	then_returns_as(passed(opening(inner(4000), pod(1))));
}

static void external_policy_local_lets_near_clients_go_anywhere(void **state)
{
	(void)state;
	given_external_local();
	for (enum frontend_kind kind = FRONTEND_NODE_PORT; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_ingress(opens(client((__u16)(4000 + kind)), dialled(kind)));
		then_goes_on_as(opens(client((__u16)(4000 + kind)), pod(1)));
		when_ingress(follows(client((__u16)(4000 + kind)), dialled(kind)));
		then_goes_on_as(follows(client((__u16)(4000 + kind)), pod(1)));
	}
}

static void internal_policy_local_says_nothing_of_external_frontends(void **state)
{
	__u32 service, local;

	(void)state;
	service = given_outside(1);
	local = given_backend(pod(2), variant.proto);
	given_backend_flags(local, BACKEND_LOCAL);
	given_local_slots(service, SERVICE_INTERNAL_LOCAL, 1, &local);

	when_asked(opens(client(4000), vip(80)));
	then_goes_on_as(opens(client(4000), pod(2)));
	when_asked(opens(client(4000), external(80)));
	then_returns_as(passed(opening(inner(4000), pod(1))));
}

static void no_backend_here_drops_far_clients_of_policy_local(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_EXTERNAL_LOCAL, 0, NULL);

	when_asked(opens(client(4000), node(NODE_PORT)));
	then_dropped(COUNTER_DROP_NO_LOCAL);
	when_ingress(opens(client(4000), node(NODE_PORT)));
	then_goes_on_as(opens(client(4000), pod(1)));
}

static void no_backend_anywhere_refuses(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(0);
	given_no_slots(service, EMPTY_REJECT);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_asked(opens(client(4000), dialled(kind)));
		assert_int_equal(verdict(), TC_ACT_REDIRECT);
		then_counted(COUNTER_REJECT_NO_BACKEND, kind);
	}
}

/* UDP never stays with a backend that left the list that applies to its client. */
static void datagrams_move_when_the_list_of_their_policy_changes(void **state)
{
	__u32 service, next;

	(void)state;
	service = given_external_local();
	when_asked(opens(client(4000), node(NODE_PORT)));
	then_goes_on_as(opens(client(4000), pod(2)));
	next = given_backend(pod(3), variant.proto);
	given_backend_flags(next, BACKEND_LOCAL);
	given_local_slots(service, SERVICE_EXTERNAL_LOCAL, 1, &next);

	when_asked(follows(client(4000), node(NODE_PORT)));

	then_goes_on_as(follows(client(4000), pod(3)));
	then_counted(COUNTER_RESELECTED, 1);
}

static void affinity_is_shared_by_all_frontends(void **state)
{
	struct frame first;
	__u32 service;

	(void)state;
	service = given_outside(8);
	given_affinity(service, 100);
	when_asked(opens(client(4000), node(NODE_PORT)));
	first = *outcome();

	when_asked(opens(client(4000), external(80)));

	/* Only the port may differ, for the first flow has it: so compare the destinations. */
	assert_memory_equal(outcome()->bytes + (is_ipv4() ? 30 : 38),
			    first.bytes + (is_ipv4() ? 30 : 38), is_ipv4() ? 4 : 16);
}

/* Rule H104: what one frontend's list gave does not count where the other list applies. */
static void affinity_does_not_leave_the_list_that_applies(void **state)
{
	__u32 service;

	(void)state;
	service = given_external_local();
	given_affinity(service, 100);
	when_asked(opens(client(4000), vip(80)));
	then_returns_as(passed(opening(inner(4000), pod(1))));

	when_asked(opens(client(4001), node(NODE_PORT)));

	then_goes_on_as(opens(client(4001), pod(2)));
}

/* Source ranges. */

static void given_range(__u32 service, struct ip_addr addr, __u32 bits)
{
	struct source_range range = {
		.prefix = 32 + (is_ipv4() ? 96 : 0) + bits,
		.service = htonl(service),
		.addr = addr,
	};
	__u32 yes = 1;

	assert_int_equal(bpf_map__update_elem(programs->maps.source_ranges, &range, sizeof(range),
					      &yes, 4, 0),
			 0);
}

static void only_sources_in_range_reach_a_load_balancer_ip(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 1, &(__u32){1});
	given_range(service, client(0).addr, is_ipv4() ? 32 : 128);

	when_asked(opens(client(4000), another_vip(80)));
	then_returns_as(passed(opening(inner(4000), pod(1))));
	when_asked(opens(another_client(4001), another_vip(80)));
	then_dropped(COUNTER_DROP_SOURCE_RANGE);
}

static void source_ranges_say_nothing_of_other_frontends(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 1, &(__u32){1});
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_EXTERNAL_IP; kind++) {
		when_asked(opens(client((__u16)(4000 + kind)), dialled(kind)));
		then_returns_as(passed(opening(inner((__u16)(4000 + kind)), pod(1))));
	}
}

/* Before every other decision: near clients, no backend at all, segments of no connection. */
static void source_ranges_come_first(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(0);
	given_no_slots(service, EMPTY_REJECT);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 0, NULL);
	given_range(service + 1, client(0).addr, is_ipv4() ? 8 : 16);

	when_asked(opens(client(4000), another_vip(80)));
	then_dropped(COUNTER_DROP_SOURCE_RANGE);
	when_ingress(opens(client(4000), another_vip(80)));
	when_asked(follows(client(4000), another_vip(80)));
	then_counted(COUNTER_DROP_SOURCE_RANGE, 3);
	then_counted(COUNTER_REJECT_NO_BACKEND, 0);
	then_counted(COUNTER_REJECT_NO_FLOW, 0);
}

/* Rule I113: no backend is no reason to let others know. */
static void who_is_in_range_is_refused_where_nobody_answers(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(0);
	given_no_slots(service, EMPTY_REJECT);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 0, NULL);
	given_range(service, client(0).addr, is_ipv4() ? 32 : 128);

	when_asked(opens(another_client(4000), another_vip(80)));
	then_dropped(COUNTER_DROP_SOURCE_RANGE);
	when_asked(opens(client(4000), another_vip(80)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	then_counted(COUNTER_REJECT_NO_BACKEND, 1);
}

/* What is not ours. */

static void a_port_that_is_no_node_port_is_the_nodes_own(void **state)
{
	(void)state;
	given_outside(1);

	when_asked(opens(client(4000), node(22)));
	then_goes_on();
	when_asked(follows(client(4000), node(22)));
	then_goes_on();
	when_asked(answers(pod(1), node(50000)));
	then_goes_on();
}

static void an_unknown_port_of_an_external_address_is_left_alone(void **state)
{
	(void)state;
	given_outside(1);
	for (enum frontend_kind kind = FRONTEND_EXTERNAL_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		struct peer peer = dialled(kind);

		peer.port = 81;
		when_asked(opens(client(4000), peer));
		then_goes_on();
		when_asked(follows(client(4000), peer));
		then_goes_on();
	}
}

static struct frame echo(struct peer to)
{
	return packet(.src = client(0), .dst = to,
		      .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = is_ipv4() ? 8 : 128, .payload = 20);
}

static void icmp_for_an_external_address_is_left_alone(void **state)
{
	struct frame quote;

	(void)state;
	given_outside(1);
	quote = opens(external(80), client(4000));

	when_asked(echo(external(0)));
	then_goes_on();
	when_asked(echo(node(0)));
	then_goes_on();
	when_asked(packet(.src = client(0), .dst = external(0),
			  .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			  .icmp_type = is_ipv4() ? 3 : 1, .quote = &quote, .quote_transport = 8));
	then_goes_on();
}

static void given_service_range(const char *addr4, const char *mask4, const char *addr6,
				const char *mask6)
{
	struct service_ranges ranges = {
		.count = 2,
		.ranges = {{peer(addr4, 0).addr, peer(mask4, 0).addr},
			   {peer(addr6, 0).addr, peer(mask6, 0).addr}},
	};
	__u32 zero = 0;

	/* A mask of IPv4 counts the mapped prefix as well. */
	memset(ranges.ranges[0].mask.bytes, 0xff, 12);
	assert_int_equal(bpf_map__update_elem(programs->maps.service_ranges, &zero, sizeof(zero),
					      &ranges, sizeof(ranges), 0),
			 0);
}

static struct peer unused(void)
{
	return peer(is_ipv4() ? "10.96.200.7" : "fd96::c807", 80);
}

static void an_unused_address_of_the_service_range_is_dropped(void **state)
{
	(void)state;
	given_outside(1);
	given_service_range("10.96.0.0", "255.255.0.0", "fd96::", "ffff:ffff::");

	when_asked(opens(client(4000), unused()));
	then_dropped(COUNTER_DROP_UNUSED_ADDRESS);
	when_ingress(echo(unused()));
	when_node_sends(opens(node(4000), unused()));
	then_counted(COUNTER_DROP_UNUSED_ADDRESS, 3);

	when_asked(opens(client(4000), peer(is_ipv4() ? "10.97.0.1" : "fd97::1", 80)));
	then_goes_on();
	when_asked(opens(client(4000), vip(80)));
	then_returns_as(passed(opening(inner(4000), pod(1))));
}

/* Rule C45: what is delivered here is not judged. */
static void an_address_of_the_service_range_that_the_node_has_is_its_own(void **state)
{
	(void)state;
	given_outside(1);
	given_service_range("10.96.0.0", "255.255.0.0", "fd96::", "ffff:ffff::");
	given_address(unused().addr, ADDRESS_NODE);

	when_asked(opens(client(4000), unused()));
	then_goes_on();
}

static void without_a_known_service_range_nothing_is_dropped(void **state)
{
	(void)state;
	given_outside(1);

	when_asked(opens(client(4000), unused()));
	then_goes_on();
}

/* Its Service is gone: flows go on, but new ones find an unused address. */
static void a_retired_address_of_the_service_range_is_unused(void **state)
{
	(void)state;
	given_outside(1);
	given_service_range("10.96.0.0", "255.255.0.0", "fd96::", "ffff:ffff::");
	given_address(unused().addr, ADDRESS_RETIRED);

	when_asked(opens(client(4000), unused()));

	then_dropped(COUNTER_DROP_UNUSED_ADDRESS);
}

/* Rule C46: a Service has it, and another proxy serves it further on. */
static void an_address_that_is_left_alone_is_not_an_unused_one(void **state)
{
	(void)state;
	given_outside(1);
	given_service_range("10.96.0.0", "255.255.0.0", "fd96::", "ffff:ffff::");
	given_address(unused().addr, ADDRESS_EXTERNAL);

	when_asked(opens(client(4000), unused()));
	then_goes_on();
	when_asked(follows(client(4000), unused()));
	then_goes_on();
	when_ingress(echo(unused()));
	then_goes_on();
	when_node_sends(opens(node(4000), unused()));
	then_goes_on();
	then_counted(COUNTER_DROP_UNUSED_ADDRESS, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(external_policy_local_keeps_far_clients_on_this_node),
		EACH(external_policy_local_says_nothing_of_cluster_ips),
		EACH(external_policy_local_lets_near_clients_go_anywhere),
		EACH(internal_policy_local_says_nothing_of_external_frontends),
		EACH(no_backend_here_drops_far_clients_of_policy_local),
		EACH(no_backend_anywhere_refuses),
		VARIANT(datagrams_move_when_the_list_of_their_policy_changes, " (IPv4)", 1),
		VARIANT(datagrams_move_when_the_list_of_their_policy_changes, " (IPv6)", 3),
		EACH(affinity_is_shared_by_all_frontends),
		EACH(affinity_does_not_leave_the_list_that_applies),
		EACH(only_sources_in_range_reach_a_load_balancer_ip),
		EACH(source_ranges_say_nothing_of_other_frontends),
		EACH(source_ranges_come_first),
		EACH(who_is_in_range_is_refused_where_nobody_answers),
		EACH(a_port_that_is_no_node_port_is_the_nodes_own),
		EACH(an_unknown_port_of_an_external_address_is_left_alone),
		FAMILIES(icmp_for_an_external_address_is_left_alone),
		EACH(an_unused_address_of_the_service_range_is_dropped),
		EACH(an_address_of_the_service_range_that_the_node_has_is_its_own),
		EACH(without_a_known_service_range_nothing_is_dropped),
		EACH(a_retired_address_of_the_service_range_is_unused),
		EACH(an_address_that_is_left_alone_is_not_an_unused_one),
	};

	return cmocka_run_group_tests_name("outside", tests, outside_load_default, datapath_unload);
}
