/* SPDX-License-Identifier: BSD-2-Clause */

/* How confirmed flows end: by themselves, soon after they expire, and none that is used. */

#include "bpf/sweep.h"
#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"

#define TIMEOUT_S  1
#define CHECK_S    1
#define DEADLINE_S 15
#define MANY       3000
#define FEW        4
#define LONG_S     600

static struct sweep_bpf *sweep;

static void make_quick(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.flows, 4 * MANY);
	skeleton->rodata->config.timeout_tcp_closed_s = TIMEOUT_S;
	skeleton->rodata->config.timeout_udp_new_s = TIMEOUT_S;
	skeleton->rodata->config.timeout_udp_s = TIMEOUT_S;
	skeleton->rodata->config.flow_check_s = CHECK_S;
}

static int load_quick(void **state)
{
	(void)state;
	if (datapath_load(make_quick))
		return -1;
	sweep = sweep_start();
	return sweep ? 0 : -1;
}

static int load_quick_xdp(void **state)
{
	(void)state;
	if (xdp_load_with(make_quick))
		return -1;
	sweep = sweep_start();
	return sweep ? 0 : -1;
}

static int unload_quick(void **state)
{
	sweep_bpf__destroy(sweep);
	return datapath_unload(state);
}

static int unload_quick_xdp(void **state)
{
	sweep_bpf__destroy(sweep);
	return xdp_unload(state);
}

/* Nothing is looked at before its time, and there is room for few. */
static void make_narrow(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.flow_check_s = LONG_S;
	skeleton->rodata->config.flow_checks_max = FEW;
}

static int load_narrow(void **state)
{
	(void)state;
	return datapath_load(make_narrow);
}

static void make_small_table(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.flows, 2 * FEW);
	skeleton->rodata->config.flow_check_s = LONG_S;
}

static int load_small_table(void **state)
{
	(void)state;
	return datapath_load(make_small_table);
}

static int load_timerless(void **state)
{
	(void)state;
	return datapath_load(NULL) ? -1 : timer_set(false);
}

static __u32 program_id(const struct bpf_program *program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size), 0);
	return info.id;
}

static bool program_is_gone(__u32 id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		(void)close(fd);
	return fd < 0;
}

static unsigned halves(void)
{
	return map_count(bpf_map__fd(programs->maps.flows));
}

static time_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

#define wait_until(condition)                                                   \
	do {                                                                    \
		const struct timespec pause_ = {.tv_nsec = 20000000};           \
		const time_t deadline_ = now() + DEADLINE_S;                    \
		while (!(condition)) {                                          \
			if (now() > deadline_)                                  \
				fail_msg("waited in vain for: %s", #condition); \
			(void)nanosleep(&pause_, NULL);                         \
		}                                                               \
	} while (0)

static void given_confirmed(__u16 port)
{
	when_ingress(opens(client(port), vip(80)));
	when_egress(answers(pod(1), client(port)));
	then_goes_on_as(answers(vip(80), client(port)));
	when_ingress(follows(client(port), vip(80)));
}

static void given_reset(__u16 port)
{
	given_confirmed(port);
	when_ingress(tcp(client(port), vip(80), RST));
}

static enum flow_place place(__u16 port)
{
	return flow_place(client(port), vip(80), FLOW_ORIGINAL, NULL);
}

/* Connections closed by a RST, or by both sides, and datagrams. */
static void flows_end_by_themselves(void **state)
{
	(void)state;
	given_pods(1);
	given_backend(pod(2), IPPROTO_UDP);
	given_service(vip(80), IPPROTO_UDP, 1, &(__u32){2});
	given_reset(4000);
	given_confirmed(4001);
	when_ingress(tcp(client(4001), vip(80), FIN | ACK));
	when_egress(tcp(pod(1), client(4001), FIN | ACK));
	variant.proto = IPPROTO_UDP;
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(2), client(4000)));
	then_goes_on_as(answers(vip(80), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	assert_int_equal(halves(), 6);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 3);

	wait_until(!halves());

	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(2).addr).confirmed, 0);
	wait_until(!sweeper().waiting);
}

static void thousands_of_flows_end_by_themselves(void **state)
{
	(void)state;
	given_pods(1);
	for (__u16 port = 0; port < MANY; port++)
		given_reset((__u16)(4000 + port));

	wait_until(!halves() && !sweeper().waiting);

	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
	then_counted(COUNTER_FLOWS_FULL, 0);
}

/* Its tuple is the same, and the queue still has what was noted of the one before. */
static void a_flow_made_again_waits_once(void **state)
{
	(void)state;
	given_pods(1);
	wait_until(!sweeper().waiting);
	for (unsigned i = 0; i < 3; i++)
		given_reset(4000);
	given_confirmed(4000);

	wait_until(sweeper().waiting == 1);

	assert_int_equal(place(4000), FLOW_CONFIRMED);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 1);
}

static void a_flow_in_use_is_kept(void **state)
{
	(void)state;
	given_pods(1);
	given_confirmed(4000);
	for (unsigned i = 0; i < 2; i++) {
		given_confirmed(4001);
		wait_until((when_ingress(follows(client(4000), vip(80))),
			    place(4001) == FLOW_NOWHERE));
	}

	assert_int_equal(place(4000), FLOW_CONFIRMED);
}

/* The program of a later agent takes the place of the one that the timer runs. */
static void a_later_program_goes_on(void **state)
{
	struct sweep_bpf *old = sweep;
	__u32 old_id = program_id(old->progs.fl_sweep_start);

	(void)state;
	given_pods(1);
	given_reset(4000);
	sweep = sweep_load();
	assert_non_null(sweep);

	assert_int_equal(sweep_run(sweep), 0);

	sweep_bpf__destroy(old);
	wait_until(program_is_gone(old_id));
	given_reset(4001);
	wait_until(!halves() && !sweeper().waiting);
}

/* The timer belongs to the map, as long as anybody holds that: no program need be held. */
static void the_timer_needs_no_agent(void **state)
{
	(void)state;
	given_pods(1);
	sweep_bpf__destroy(sweep);
	sweep = NULL;
	given_reset(4000);

	wait_until(!halves() && !sweeper().waiting);
}

static void flows_that_xdp_confirmed_end_too(void **state)
{
	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	when_backend_sends(answers(pod(1), inner(4000)));
	when_client_sends(follows(client(4000), vip(80)));
	assert_int_equal(halves(), 2);
	when_client_sends(tcp(client(4000), vip(80), RST));

	wait_until(!halves() && !sweeper().waiting);
}

/* What is noted of flows that are over does not keep others from being noted. */
static void a_port_may_be_used_again_at_any_pace(void **state)
{
	(void)state;
	given_pods(1);
	for (unsigned i = 0; i < 20 * FEW; i++) {
		given_reset(4000);
		assert_int_equal(place(4000), FLOW_CONFIRMED);
		assert_between(sweeper().waiting, 1, FEW);
	}
	then_counted(COUNTER_FLOWS_FULL, 0);
}

static void who_could_not_be_asked_is_not_confirmed(void **state)
{
	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4000 + 2 * FEW; port++)
		given_confirmed(port);

	assert_between(sweeper().waiting, FEW, FEW);
	assert_int_equal(halves(), 2 * FEW);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, FEW);
	then_counted(COUNTER_FLOWS_FULL, FEW);
	assert_int_equal(place(4000 + 2 * FEW - 1), FLOW_AMONG_NEW);
}

static void who_finds_the_table_full_removes_expired_flows(void **state)
{
	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4000 + FEW; port++)
		given_reset(port);
	assert_int_equal(halves(), 2 * FEW);
	given_time_passed(TIMEOUT_TCP_CLOSED_S + 1);
	given_confirmed(5000);
	then_counted(COUNTER_FLOWS_FULL, 1);
	assert_int_equal(halves(), 0);

	when_ingress(follows(client(5000), vip(80)));
	then_goes_on_as(follows(client(5000), pod(1)));

	assert_int_equal(place(5000), FLOW_CONFIRMED);
}

static void without_timers_new_flows_end_others(void **state)
{
	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4000 + FEW; port++)
		given_reset(port);
	given_time_passed(TIMEOUT_TCP_CLOSED_S + 1);
	for (__u16 port = 5000; port < 5000 + FEW; port++)
		given_confirmed(port);

	assert_int_equal(sweeper().has_timer, 0);
	assert_int_equal(halves(), 2 * FEW);
	assert_int_equal(place(4000), FLOW_NOWHERE);
	assert_int_equal(place(5000), FLOW_CONFIRMED);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, FEW);
}

int main(void)
{
	const struct CMUnitTest by_themselves[] = {
		ONCE(flows_end_by_themselves),          ONCE(thousands_of_flows_end_by_themselves),
		FAMILIES(a_flow_made_again_waits_once), VARIANT(a_flow_in_use_is_kept, "", 1),
		FAMILIES(a_later_program_goes_on),      ONCE(the_timer_needs_no_agent),
	};
	const struct CMUnitTest by_xdp[] = {FAMILIES(flows_that_xdp_confirmed_end_too)};
	const struct CMUnitTest narrow[] = {
		ONCE(a_port_may_be_used_again_at_any_pace),
	};
	const struct CMUnitTest crowded[] = {ONCE(who_could_not_be_asked_is_not_confirmed)};
	const struct CMUnitTest small_table[] = {
		ONCE(who_finds_the_table_full_removes_expired_flows)};

	const struct CMUnitTest timerless[] = {FAMILIES(without_timers_new_flows_end_others)};

	return cmocka_run_group_tests_name("flows end", by_themselves, load_quick, unload_quick) +
	       cmocka_run_group_tests_name("flows of XDP end", by_xdp, load_quick_xdp,
					   unload_quick_xdp) +
	       cmocka_run_group_tests_name("little room", narrow, load_narrow, datapath_unload) +
	       cmocka_run_group_tests_name("no room", crowded, load_narrow, datapath_unload) +
	       cmocka_run_group_tests_name("a small table", small_table, load_small_table,
					   datapath_unload) +
	       cmocka_run_group_tests_name("no timers", timerless, load_timerless, datapath_unload);
}
