/* SPDX-License-Identifier: BSD-2-Clause */

/* Tables that are full. */

#include "bpf/datapath.h"

#include <bpf/libbpf.h>

#include "base/map.h"

#define FLOWS_MAX 8 /* halves */

static void make_narrow(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.flows, FLOWS_MAX);
}

static int load_narrow(void **state)
{
	(void)state;
	return datapath_load(make_narrow);
}

static void given_answered(__u16 port)
{
	when_ingress(opens(client(port), vip(80)));
	when_egress(answers(pod(1), client(port)));
	then_goes_on_as(answers(vip(80), client(port)));
}

static void a_full_table_leaves_flows_among_the_new_ones(void **state)
{
	unsigned confirmed = 0;

	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4010; port++)
		given_answered(port);

	for (__u16 port = 4000; port < 4010; port++) {
		when_ingress(follows(client(port), vip(80)));
		then_goes_on_as(follows(client(port), pod(1)));
		when_egress(follows(pod(1), client(port)));
		then_goes_on_as(follows(vip(80), client(port)));
		confirmed +=
			flow_place(client(port), vip(80), FLOW_ORIGINAL, NULL) == FLOW_CONFIRMED;
	}

	assert_true(counted(COUNTER_FLOWS_FULL) > 0);
	assert_between(confirmed, 1, FLOWS_MAX / 2);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 2 * confirmed);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, confirmed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_full_table_leaves_flows_among_the_new_ones),
	};

	return cmocka_run_group_tests_name("limits", tests, load_narrow, datapath_unload);
}
