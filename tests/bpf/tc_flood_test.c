/* SPDX-License-Identifier: BSD-2-Clause */

/* Floods from made-up addresses: flows that were answered before stay, and no table grows. */

#include "bpf/outside.h"

#include <bpf/libbpf.h>
#include <string.h>

#define ESTABLISHED 100
#define FLOOD       200000
#define NEW_FLOWS   16384
#define FIRST_PORT  2000

static void make_room(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.new_flows, NEW_FLOWS);
}

static int load_with_room(void **state)
{
	(void)state;
	return outside_load(make_room);
}

static struct peer spoofed(__u32 number)
{
	struct peer made = client((__u16)(1024 + number % 30000));

	memcpy(made.addr.bytes + 12, &(__u32){__builtin_bswap32(0x0b000000 + number)}, 4);
	return made;
}

static void a_flood_of_new_flows_evicts_no_established_one(void **state)
{
	(void)state;
	given_outside(1);
	for (__u16 port = FIRST_PORT; port < FIRST_PORT + ESTABLISHED; port++) {
		when_asked(opens(client(port), node(NODE_PORT)));
		when_answered(answers(pod(1), inner(port)));
		when_asked(follows(client(port), node(NODE_PORT)));
	}

	for (__u32 number = 0; number < FLOOD; number++)
		when_asked(opens(spoofed(number), node(NODE_PORT)));

	assert_in_range(flows_count(bpf_map__fd(programs->maps.new_flows)), 1, NEW_FLOWS);
	assert_int_equal(flows_count(bpf_map__fd(programs->maps.flows)), 2 * ESTABLISHED);
	for (__u16 port = FIRST_PORT; port < FIRST_PORT + ESTABLISHED; port++) {
		when_asked(follows(client(port), node(NODE_PORT)));
		then_returns_as(passed(following(inner(port), pod(1))));
		when_answered(follows(pod(1), inner(port)));
		then_returns_as(passed(following(node(NODE_PORT), client(port))));
	}
	assert_int_equal(address_flows_of(node(0).addr).confirmed, ESTABLISHED);
}

/* While it lasts, who really wants to be served is served. */
static void a_flood_leaves_room_for_new_clients(void **state)
{
	(void)state;
	given_outside(1);
	for (__u32 number = 0; number < 2 * NEW_FLOWS; number++)
		when_asked(opens(spoofed(number), node(NODE_PORT)));

	when_asked(opens(client(3000), node(NODE_PORT)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	for (__u32 number = 0; number < 100; number++)
		when_asked(opens(spoofed(FLOOD + number), node(NODE_PORT)));
	when_asked(opens(client(3001), node(NODE_PORT)));
	assert_int_equal(flow_place(client(3000), node(NODE_PORT), FLOW_ORIGINAL, NULL),
			 FLOW_AMONG_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_flood_of_new_flows_evicts_no_established_one),
		PROTOS(a_flood_leaves_room_for_new_clients),
	};

	return cmocka_run_group_tests_name("flood", tests, load_with_room, datapath_unload);
}
