/* SPDX-License-Identifier: BSD-2-Clause */

/* Larger maps in place of full ones: nothing that programs counted meanwhile is lost. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/full_tables.h"
#include "base/cleanup.h"
#include "datapath/grow.h"
#include "fairlead/counters.h"
#include "fairlead/limits.h"
#include "fairlead/types.h"

#define OLD_ENTRIES 700 /* more than a page of them */
#define NEW_ENTRIES 1500

struct two_maps {
	int old, new;
};

static int map_new(uint32_t entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "address_flows", sizeof(uint32_t),
				 sizeof(struct address_flows), entries, &options);

	assert_true(map >= 0);
	return map;
}

static int two_maps_open(void **state)
{
	static struct two_maps maps;

	maps.old = map_new(OLD_ENTRIES);
	maps.new = map_new(NEW_ENTRIES);
	*state = &maps;
	return 0;
}

static int two_maps_close(void **state)
{
	const struct two_maps *maps = *state;

	(void)close(maps->old);
	(void)close(maps->new);
	return 0;
}

static void count(int map, uint32_t index, uint32_t confirmed)
{
	struct address_flows busy;

	assert_int_equal(bpf_map_lookup_elem(map, &index, &busy), 0);
	busy.confirmed += confirmed;
	assert_int_equal(bpf_map_update_elem(map, &index, &busy, BPF_ANY), 0);
}

static struct address_flows counted(int map, uint32_t index)
{
	struct address_flows busy;

	assert_int_equal(bpf_map_lookup_elem(map, &index, &busy), 0);
	return busy;
}

/* A flow that ends in the larger map before the counts came there makes its count negative. */
static void flows_counted_while_a_map_grows_are_neither_lost_nor_counted_twice(void **state)
{
	const struct two_maps *maps = *state;

	count(maps->old, 1, 3);
	assert_int_equal(grow_copy(MAP_ADDRESS_FLOWS, maps->old, maps->new), 0);
	count(maps->old, 1, 2);
	count(maps->old, OLD_ENTRIES - 1, 1);
	count(maps->new, 1, -1U);
	count(maps->new, 2, 4);
	assert_int_equal(grow_catch_up(MAP_ADDRESS_FLOWS, maps->old, maps->new), 0);
	assert_int_equal(counted(maps->new, 1).confirmed, 3 + 2 - 1);
	assert_int_equal(counted(maps->new, 2).confirmed, 4);
	assert_int_equal(counted(maps->new, OLD_ENTRIES - 1).confirmed, 1);
	assert_int_equal(counted(maps->new, OLD_ENTRIES).confirmed, 0);
}

static void no_address_is_taken_for_idle_until_the_counts_are_there(void **state)
{
	const struct two_maps *maps = *state;
	struct timespec now;

	count(maps->old, 1, 3);
	assert_int_equal(grow_copy(MAP_ADDRESS_FLOWS, maps->old, maps->new), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	for (uint32_t index = 0; index < OLD_ENTRIES; index++)
		assert_true(counted(maps->new, index).new_until_s > now.tv_sec + TIMEOUT_TCP_NEW_S);
}

static int affinity_new(uint32_t entries)
{
	int map = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "affinity", sizeof(struct affinity_key),
				 sizeof(struct affinity), entries, NULL);

	assert_true(map >= 0);
	return map;
}

static void affinity_store(int map, uint32_t service, uint32_t backend, uint32_t last_use_s)
{
	const struct affinity_key key = {.service = service};
	const struct affinity value = {
		.backend = backend, .generation = 1, .last_use_s = last_use_s};

	assert_int_equal(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
}

static uint32_t backend_of(int map, uint32_t service)
{
	const struct affinity_key key = {.service = service};
	struct affinity value;

	return bpf_map_lookup_elem(map, &key, &value) ? 0 : value.backend;
}

static void clients_keep_the_backend_that_they_had_last(void **state)
{
	auto_cleanup(cleanup_fd) int old = affinity_new(OLD_ENTRIES);
	auto_cleanup(cleanup_fd) int new = affinity_new(NEW_ENTRIES);

	(void)state;
	for (uint32_t service = 1; service <= OLD_ENTRIES / 2; service++)
		affinity_store(old, service, 100, 10);
	assert_int_equal(grow_copy(MAP_AFFINITY, old, new), 0);
	for (uint32_t service = 1; service <= OLD_ENTRIES / 2; service++)
		assert_int_equal(backend_of(new, service), 100);

	affinity_store(old, 1, 200, 12);
	affinity_store(old, 2, 200, 12);
	affinity_store(new, 2, 300, 13);
	affinity_store(old, OLD_ENTRIES, 200, 12);
	affinity_store(new, NEW_ENTRIES, 300, 13);
	assert_int_equal(grow_catch_up(MAP_AFFINITY, old, new), 0);
	assert_int_equal(backend_of(new, 1), 200);
	assert_int_equal(backend_of(new, 2), 300);
	assert_int_equal(backend_of(new, 3), 100);
	assert_int_equal(backend_of(new, OLD_ENTRIES), 200);
	assert_int_equal(backend_of(new, NEW_ENTRIES), 300);
}

#define NOW_S     100000
#define TIMEOUT_S 60

/* An entry that has expired is the first to be evicted, and would make no room in a larger map. */
static void only_clients_within_their_timeout_count(void **state)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	auto_cleanup(cleanup_fd) int clients = affinity_new(NEW_ENTRIES);
	auto_cleanup(cleanup_fd) int services =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, "services", sizeof(uint32_t),
			       sizeof(struct service), OLD_ENTRIES, &options);
	const struct service sticky = {.affinity_timeout_s = TIMEOUT_S};
	const uint32_t sticky_id = 3;

	(void)state;
	assert_true(services >= 0);
	assert_int_equal(bpf_map_update_elem(services, &sticky_id, &sticky, BPF_ANY), 0);
	for (uint32_t number = 0; number < 10; number++) {
		const struct affinity value = {.last_use_s = NOW_S - TIMEOUT_S + 5 - number};
		struct affinity_key key = {.service = sticky_id};

		memcpy(key.client.bytes, &number, sizeof(number));
		assert_int_equal(bpf_map_update_elem(clients, &key, &value, BPF_ANY), 0);
	}
	affinity_store(clients, sticky_id + 1, 1, NOW_S);   /* it has no affinity any more */
	affinity_store(clients, OLD_ENTRIES + 1, 1, NOW_S); /* there is no such service port */

	assert_int_equal(affinity_count_clients(clients, services, NOW_S), 6);
}

static void a_table_is_doubled_from_three_quarters_on_up_to_a_bound(void **state)
{
	(void)state;
	assert_int_equal(table_room_wanted(0, 131072), 131072);
	assert_int_equal(table_room_wanted(98303, 131072), 131072);
	assert_int_equal(table_room_wanted(98304, 131072), 262144);
	assert_int_equal(table_room_wanted(900000, 600000), TABLE_GROWN_MAX);
	assert_int_equal(table_room_wanted(UINT64_MAX, TABLE_GROWN_MAX), TABLE_GROWN_MAX);
	assert_int_equal(table_room_wanted(UINT64_MAX, 2 * TABLE_GROWN_MAX), 2 * TABLE_GROWN_MAX);
}

/* What a version with `entries` entries of `per_entry` counters each has counted, on each CPU. */
static int given_counters(uint32_t entries, uint32_t per_entry, size_t cpus)
{
	const uint32_t size = per_entry * sizeof(struct counter);
	int map = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(uint32_t), size,
				 entries, NULL);
	struct counter *values = calloc(cpus, size);

	assert_true(map >= 0);
	assert_non_null(values);
	for (uint32_t index = 0; index < entries; index++) {
		for (size_t i = 0; i < cpus * per_entry; i++) {
			uint32_t reason = index * per_entry + (uint32_t)(i % per_entry);

			values[i].packets = 100 * (i / per_entry) + reason;
			values[i].bytes = 1000 + reason;
		}
		assert_int_equal(bpf_map_update_elem(map, &index, values, BPF_ANY), 0);
	}
	free(values);
	return map;
}

static void then_carried_over(int old, uint32_t count, size_t cpus)
{
	struct counter(*carried)[COUNTER_COUNT] = calloc(cpus, sizeof(*carried));
	int new = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(uint32_t),
				 sizeof(struct counters), 1, NULL);
	uint32_t zero = 0;

	assert_non_null(carried);
	assert_int_equal(grow_copy(MAP_COUNTERS, old, new), 0);
	assert_int_equal(bpf_map_lookup_elem(new, &zero, carried), 0);
	for (size_t cpu = 0; cpu < cpus; cpu++) {
		for (uint32_t i = 0; i < COUNTER_COUNT; i++) {
			assert_int_equal(carried[cpu][i].packets, i < count ? 100 * cpu + i : 0);
			assert_int_equal(carried[cpu][i].bytes, i < count ? 1000 + i : 0);
		}
	}
	free(carried);
	(void)close(old);
	(void)close(new);
}

static void counters_of_another_version_keep_what_they_counted(void **state)
{
	const size_t cpus = (size_t)libbpf_num_possible_cpus();

	(void)state;
	/* An entry for each, as versions before struct counters had it. */
	then_carried_over(given_counters(COUNTER_COUNT, 1, cpus), COUNTER_COUNT, cpus);
	then_carried_over(given_counters(COUNTER_COUNT - 2, 1, cpus), COUNTER_COUNT - 2, cpus);
	then_carried_over(given_counters(COUNTER_COUNT + 2, 1, cpus), COUNTER_COUNT, cpus);
	then_carried_over(given_counters(1, COUNTER_COUNT - 2, cpus), COUNTER_COUNT - 2, cpus);
	then_carried_over(given_counters(1, COUNTER_COUNT + 2, cpus), COUNTER_COUNT, cpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			flows_counted_while_a_map_grows_are_neither_lost_nor_counted_twice,
			two_maps_open, two_maps_close),
		cmocka_unit_test(clients_keep_the_backend_that_they_had_last),
		cmocka_unit_test(only_clients_within_their_timeout_count),
		cmocka_unit_test(a_table_is_doubled_from_three_quarters_on_up_to_a_bound),
		cmocka_unit_test_setup_teardown(
			no_address_is_taken_for_idle_until_the_counts_are_there, two_maps_open,
			two_maps_close),
		cmocka_unit_test(counters_of_another_version_keep_what_they_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
