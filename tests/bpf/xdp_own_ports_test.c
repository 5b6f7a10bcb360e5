/* SPDX-License-Identifier: BSD-2-Clause */

/* At XDP too, what is the stack's at the port of a NodePort goes up as it came. */

#include "bpf/own_peers.h"
#include "bpf/xdp.h"

#include <bpf/libbpf.h>
#include <unistd.h>

#include "base/map.h"

static struct peer server(void)
{
	return client(53);
}

static void then_reply_goes_up(struct frame reply)
{
	when_client_sends(reply);
	then_goes_up();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void a_segment_that_opens_nothing_goes_up(void **state)
{
	(void)state;
	given_outside(1);
	then_reply_goes_up(answers(server(), node(NODE_PORT)));
	then_reply_goes_up(follows(server(), node(NODE_PORT)));
	then_counted(COUNTER_REJECT_NO_FLOW, 0);
}

/* TC, which would only drop it, must see it as well. */
static void a_reply_from_outside_of_the_source_ranges_goes_up(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 1, &(__u32){1});
	given_frontend(node(443), variant.proto, FRONTEND_LOAD_BALANCER_IP, service);

	then_reply_goes_up(answers(server(), node(443)));
	then_counted(COUNTER_DROP_SOURCE_RANGE, 0);
}

static void the_reply_to_a_datagram_of_the_node_goes_up(void **state)
{
	(void)state;
	given_outside(1);
	when_own_leaves(opens(node(NODE_PORT), server()));
	then_reply_goes_up(answers(server(), node(NODE_PORT)));
}

static void the_reply_to_a_masqueraded_datagram_goes_up(void **state)
{
	(void)state;
	given_outside(1);
	when_masqueraded_leaves(opens(node(NODE_PORT), server()));
	then_reply_goes_up(answers(server(), node(NODE_PORT)));
}

static void what_a_connected_socket_waits_for_goes_up(void **state)
{
	const struct peer peer = server();
	int fd = given_own_socket(NODE_PORT, &peer);

	(void)state;
	given_outside(1);
	then_reply_goes_up(answers(server(), node(NODE_PORT)));
	when_client_sends(opens(client(54), node(NODE_PORT)));
	then_redirected_as(sent_to_pods(opening(inner(54), pod(1))));
	(void)close(fd);
}

static void given_flow_whose_source_has_left(struct peer frontend)
{
	given_outside(1);
	when_client_sends(opens(client(4000), frontend));
	when_backend_sends(answers(pod(1), inner(4000)));
	when_client_sends(follows(client(4000), frontend));
	then_redirected_as(sent_to_pods(following(inner(4000), pod(1))));
	given_address_left(inner(0).addr);
	given_link_source(overlay, another_client(0).addr);
	given_time_passed(1);
}

static void a_connection_whose_source_has_left_is_over(void **state)
{
	(void)state;
	given_flow_whose_source_has_left(external(80));
	when_client_sends(follows(client(4000), external(80)));
	then_goes_up();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 0);
}

static void datagrams_whose_source_has_left_get_another_one(void **state)
{
	(void)state;
	given_flow_whose_source_has_left(node(NODE_PORT));
	when_client_sends(follows(client(4000), node(NODE_PORT)));
	then_redirected_as(sent_to_pods(following(another_client(4000), pod(1))));
}

#define TCP_ONLY(test) VARIANT(test, " (IPv4)", 0), VARIANT(test, " (IPv6)", 2)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TCP_ONLY(a_segment_that_opens_nothing_goes_up),
		TCP_ONLY(a_reply_from_outside_of_the_source_ranges_goes_up),
		DATAGRAMS(the_reply_to_a_datagram_of_the_node_goes_up),
		DATAGRAMS(the_reply_to_a_masqueraded_datagram_goes_up),
		DATAGRAMS(what_a_connected_socket_waits_for_goes_up),
		TCP_ONLY(a_connection_whose_source_has_left_is_over),
		DATAGRAMS(datagrams_whose_source_has_left_get_another_one),
	};

	return cmocka_run_group_tests_name("own ports at XDP", tests, xdp_load, xdp_unload);
}
