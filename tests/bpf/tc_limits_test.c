/* SPDX-License-Identifier: BSD-2-Clause */

/* Tables that are full, and flows that end by themselves. */

#include "bpf/datapath.h"

#include <bpf/libbpf.h>
#include <time.h>

#define FLOWS_MAX  8 /* halves */
#define TIMEOUT_S  1
#define DEADLINE_S 10

static void make_narrow(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.flows, FLOWS_MAX);
	skeleton->rodata->config.timeout_tcp_closed_s = TIMEOUT_S;
	skeleton->rodata->config.timeout_udp_new_s = TIMEOUT_S;
	skeleton->rodata->config.timeout_udp_s = TIMEOUT_S;
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
	assert_in_range(confirmed, 1, FLOWS_MAX / 2);
	assert_int_equal(flows_count(bpf_map__fd(programs->maps.flows)), 2 * confirmed);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, confirmed);
}

static time_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Connections closed by a RST, and datagrams: both are gone a second after their last packet. */
static void flows_end_by_themselves(void **state)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	int flows = bpf_map__fd(programs->maps.flows);
	time_t deadline = now() + DEADLINE_S;

	(void)state;
	given_pods(1);
	given_backend(pod(2), IPPROTO_UDP);
	given_service(vip(80), IPPROTO_UDP, 1, &(__u32){2});
	given_answered(4000);
	when_ingress(tcp(client(4000), vip(80), RST));
	variant.proto = IPPROTO_UDP;
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(2), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
	assert_int_equal(flows_count(flows), 4);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 2);

	while (flows_count(flows) && now() < deadline)
		(void)nanosleep(&pause, NULL);

	assert_int_equal(flows_count(flows), 0);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(2).addr).confirmed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_full_table_leaves_flows_among_the_new_ones),
		ONCE(flows_end_by_themselves),
	};

	return cmocka_run_group_tests_name("limits", tests, load_narrow, datapath_unload);
}
