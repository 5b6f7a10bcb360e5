/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Near clients told by their address: pods of the whole cluster may be near, and still be
 * elsewhere.
 */

#include "bpf/outside.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static void near_by_range(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.near_by = NEAR_BY_RANGE;
}

static int load_near_by_range(void **state)
{
	(void)state;
	return outside_load(near_by_range);
}

/* client(0) is in the range, another_client(0) is not; only pod(2) is on this node. */
static void given_world(void)
{
	struct near_range range = {.prefix = 128, .addr = client(0).addr};
	__u32 service = given_outside(1), local = given_backend(pod(2), variant.proto), yes = 1;

	given_backend_flags(local, BACKEND_LOCAL);
	given_local_slots(service, SERVICE_EXTERNAL_LOCAL, 1, &local);
	assert_int_equal(bpf_map__update_elem(programs->maps.near_ranges, &range, sizeof(range),
					      &yes, sizeof(yes), 0),
			 0);
}

/* Its replies would miss this node, so its place is taken, near as it is. */
static void a_client_in_range_from_elsewhere_is_near_and_loses_its_address(void **state)
{
	(void)state;
	given_world();

	when_asked(opens(client(4000), node(NODE_PORT)));
	then_returns_as(passed(opening(inner(4000), pod(1))));
	when_asked(opens(another_client(4000), node(NODE_PORT)));
	then_goes_on_as(opens(another_client(4000), pod(2)));
}

static void a_pod_of_this_node_in_range_keeps_its_address(void **state)
{
	(void)state;
	given_world();

	when_ingress(opens(client(4000), node(NODE_PORT)));
	then_goes_on_as(opens(client(4000), pod(1)));
}

/* By the rules it is an outsider, wherever it really is. */
static void a_pod_of_this_node_out_of_range_is_far(void **state)
{
	(void)state;
	given_world();

	when_ingress(opens(another_client(4000), node(NODE_PORT)));
	then_goes_on_as(opens(another_client(4000), pod(2)));
}

static void the_node_itself_is_near_whatever_the_ranges_say(void **state)
{
	(void)state;
	given_world();

	when_run(programs->progs.fl_egress, opens(node(4000), external(80)), uplink, 0);

	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	assert_int_equal(flow_place(pod(1), node(4000), FLOW_REPLY, NULL), FLOW_AMONG_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_client_in_range_from_elsewhere_is_near_and_loses_its_address),
		EACH(a_pod_of_this_node_in_range_keeps_its_address),
		EACH(a_pod_of_this_node_out_of_range_is_far),
		EACH(the_node_itself_is_near_whatever_the_ranges_say),
	};

	return cmocka_run_group_tests_name("near by range", tests, load_near_by_range,
					   datapath_unload);
}
