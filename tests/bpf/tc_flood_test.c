/* SPDX-License-Identifier: BSD-2-Clause */

/* Floods from made-up addresses: flows that were answered before stay, and no table grows. */

#include "bpf/outside.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

#define ESTABLISHED 100
#define FLOOD       1000000
#define VARIANTS    4
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

static void given_answered(void)
{
	for (__u16 port = FIRST_PORT; port < FIRST_PORT + ESTABLISHED; port++) {
		when_asked(opens(client(port), node(NODE_PORT)));
		when_answered(answers(pod(1), inner(port)));
		when_asked(follows(client(port), node(NODE_PORT)));
	}
}

static void then_answered_flows_go_on(void)
{
	for (__u16 port = FIRST_PORT; port < FIRST_PORT + ESTABLISHED; port++) {
		when_asked(follows(client(port), node(NODE_PORT)));
		then_returns_as(passed(following(inner(port), pod(1))));
		when_answered(follows(pod(1), inner(port)));
		then_returns_as(passed(following(node(NODE_PORT), client(port))));
	}
}

/* What the kernel has given all maps, in bytes. */
static __u64 memory_of_maps(void)
{
	const struct bpf_map *map;
	__u64 bytes = 0;

	bpf_object__for_each_map (map, programs->obj) {
		char path[64], line[128];
		FILE *info;

		(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_map__fd(map));
		info = fopen(path, "re");
		assert_non_null(info);
		while (fgets(line, sizeof(line), info)) {
			if (!strncmp(line, "memlock:", 8))
				bytes += strtoull(line + 8, NULL, 10);
		}
		(void)fclose(info);
	}
	return bytes;
}

/* FAIRLEAD_FLOOD, for slow machines, or a million. */
static __u32 flood_size(void)
{
	const char *wanted = getenv("FAIRLEAD_FLOOD");

	return wanted ? (__u32)strtoul(wanted, NULL, 10) : FLOOD;
}

/* A million sources, a quarter of them for each family and protocol. */
static void a_flood_of_a_million_sources_evicts_no_established_flow(void **state)
{
	const struct variant mine = variant;
	const __u32 flood = flood_size();
	__u64 memory;

	(void)state;
	for (unsigned i = 0; i < VARIANTS; i++) {
		variant = variants[i];
		given_outside(1);
		given_answered();
	}
	memory = memory_of_maps();
	assert_true(memory > 0);

	for (__u32 number = 0; number < flood; number++) {
		variant = variants[number % VARIANTS];
		when_asked(opens(spoofed(number), node(NODE_PORT)));
	}

	assert_between(map_count(bpf_map__fd(programs->maps.new_flows)), 1, NEW_FLOWS);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 2 * VARIANTS * ESTABLISHED);
	assert_int_equal(memory_of_maps(), memory);
	for (unsigned i = 0; i < VARIANTS; i++) {
		variant = variants[i];
		then_answered_flows_go_on();
	}
	variant = mine;
	then_counted(COUNTER_FORWARDED_NEW, flood + VARIANTS * ESTABLISHED);
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
		ONCE(a_flood_of_a_million_sources_evicts_no_established_flow),
		PROTOS(a_flood_leaves_room_for_new_clients),
	};

	return cmocka_run_group_tests_name("flood", tests, load_with_room, datapath_unload);
}
