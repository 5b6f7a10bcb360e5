/* SPDX-License-Identifier: BSD-2-Clause */

/* Maps of every kind that fairlead has are read and thinned out in one way. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/map.h"

#define MANY        5000 /* more than one batch */
#define ENTRIES     8192
#define TRIE_BYTES  4
#define LARGE_VALUE 65536

struct trie_key {
	__u32 prefix;
	__u8 bytes[TRIE_BYTES];
};

/* An odd size: the kernel rounds up the value of each CPU. */
struct cpu_value {
	__u64 packets;
	__u32 bytes;
};
#define CPU_VALUE_SIZE (offsetof(struct cpu_value, bytes) + sizeof(__u32))

/* How often each number was handed on, as a key. */
struct seen {
	uint8_t times[ENTRIES];
	size_t count;
	int delete_from; /* -1: nothing is deleted */
};

static int map_new_of(enum bpf_map_type type, __u32 key_size, __u32 value_size, __u32 entries)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = 0);
	int fd;

	if (type == BPF_MAP_TYPE_LPM_TRIE)
		options.map_flags = BPF_F_NO_PREALLOC;
	fd = bpf_map_create(type, "map_test", key_size, value_size, entries, &options);
	assert_true(fd >= 0);
	return fd;
}

static int map_new(enum bpf_map_type type, __u32 key_size, __u32 value_size)
{
	return map_new_of(type, key_size, value_size, ENTRIES);
}

/* Entries 0 to `count` - 1; the value is twice the key. */
static int hash_new(__u32 count)
{
	int fd = map_new(BPF_MAP_TYPE_HASH, sizeof(__u32), sizeof(__u32));

	for (__u32 key = 0; key < count; key++) {
		const __u32 value = 2 * key;

		assert_int_equal(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	}
	return fd;
}

static struct trie_key trie_key_of(__u32 number)
{
	struct trie_key key = {.prefix = 8 * TRIE_BYTES};

	memcpy(key.bytes, &number, sizeof(number));
	return key;
}

static int trie_new(__u32 count)
{
	int fd = map_new(BPF_MAP_TYPE_LPM_TRIE, sizeof(struct trie_key), sizeof(__u32));

	for (__u32 number = 0; number < count; number++) {
		const struct trie_key key = trie_key_of(number);
		const __u32 value = 2 * number;

		assert_int_equal(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	}
	return fd;
}

static void number_seen(struct seen *seen, __u32 number, const void *value)
{
	__u32 twice;

	memcpy(&twice, value, sizeof(twice));
	assert_int_equal(twice, 2 * number);
	assert_in_range(number, 0, ENTRIES - 1);
	seen->times[number]++;
	seen->count++;
}

static void entry_seen(const void *key, const void *value, void *context)
{
	struct seen *seen = context;
	__u32 number;

	memcpy(&number, key, sizeof(number));
	number_seen(seen, number, value);
	if (seen->delete_from >= 0)
		assert_int_equal(bpf_map_delete_elem(seen->delete_from, key), 0);
}

static void range_seen(const void *key, const void *value, void *context)
{
	struct seen *seen = context;
	struct trie_key range;
	__u32 number;

	memcpy(&range, key, sizeof(range));
	memcpy(&number, range.bytes, sizeof(number));
	number_seen(seen, number, value);
	if (seen->delete_from >= 0)
		assert_int_equal(bpf_map_delete_elem(seen->delete_from, key), 0);
}

static void then_each_was_seen_once(const struct seen *seen, __u32 count)
{
	assert_int_equal(seen->count, count);
	for (__u32 number = 0; number < count; number++)
		assert_int_equal(seen->times[number], 1);
}

static void then_entries_are_left(int fd, size_t count)
{
	struct seen seen = {.delete_from = -1};

	assert_int_equal(map_each(fd, entry_seen, &seen), 0);
	assert_int_equal(seen.count, count);
}

static bool is_never(const void *key, const void *context)
{
	(void)key;
	(void)context;
	return false;
}

static void every_entry_of_a_hash_table_is_handed_on_once(void **state)
{
	auto_cleanup(cleanup_fd) int fd = hash_new(MANY);
	struct seen seen = {.delete_from = -1};

	(void)state;
	assert_int_equal(map_each(fd, entry_seen, &seen), 0);
	then_each_was_seen_once(&seen, MANY);
	assert_int_equal(map_count(fd), MANY);
}

static void every_entry_of_an_array_is_handed_on_once(void **state)
{
	auto_cleanup(cleanup_fd) int fd = map_new(BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(__u32));
	struct seen seen = {.delete_from = -1};

	(void)state;
	for (__u32 key = 0; key < ENTRIES; key++) {
		const __u32 value = 2 * key;

		assert_int_equal(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
	}
	assert_int_equal(map_each(fd, entry_seen, &seen), 0);
	then_each_was_seen_once(&seen, ENTRIES);
}

static void every_range_of_a_trie_is_handed_on_once(void **state)
{
	auto_cleanup(cleanup_fd) int fd = trie_new(MANY);
	struct seen seen = {.delete_from = -1};

	(void)state;
	assert_int_equal(map_each(fd, range_seen, &seen), 0);
	then_each_was_seen_once(&seen, MANY);
}

static void an_empty_map_has_nothing_to_hand_on(void **state)
{
	auto_cleanup(cleanup_fd) int hash = hash_new(0);
	auto_cleanup(cleanup_fd) int trie = trie_new(0);
	auto_cleanup(cleanup_fd) int percpu =
		map_new(BPF_MAP_TYPE_PERCPU_HASH, sizeof(__u32), sizeof(__u64));
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = -1};

	(void)state;
	assert_int_equal(map_each(hash, entry_seen, &seen), 0);
	assert_int_equal(map_each(trie, range_seen, &seen), 0);
	assert_int_equal(map_each(percpu, entry_seen, &seen), 0);
	assert_int_equal(map_walk_init(&walk, percpu), 0);
	walk.has_no_batches = true;
	assert_int_equal(map_step(&walk, entry_seen, &seen), 0);
	assert_int_equal(seen.count, 0);
	assert_int_equal(map_keep_only(hash, is_never, NULL), 0);
}

static void what_is_no_map_is_an_error(void **state)
{
	struct seen seen = {.delete_from = -1};

	(void)state;
	assert_true(map_each(-1, entry_seen, &seen) < 0);
	assert_true(map_count(-1) < 0);
	assert_int_equal(map_max_entries(-1), 0);
	assert_int_equal(map_memory(-1), 0);
}

/* Kernels before 5.6 have no batches. */
static void a_map_without_batches_is_read_one_by_one(void **state)
{
	auto_cleanup(cleanup_fd) int fd = hash_new(MANY);
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = -1};

	(void)state;
	assert_int_equal(map_walk_init(&walk, fd), 0);
	walk.has_no_batches = true;
	while (map_step(&walk, entry_seen, &seen) > 0)
		;
	then_each_was_seen_once(&seen, MANY);
}

static void a_bucket_larger_than_the_batch_makes_it_grow(void **state)
{
	auto_cleanup(cleanup_fd) int fd = hash_new(MANY);
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = -1};
	int more;

	(void)state;
	assert_int_equal(map_walk_init(&walk, fd), 0);
	walk.room = 1;
	while ((more = map_step(&walk, entry_seen, &seen)) > 0)
		;
	assert_int_equal(more, 0);
	assert_in_range(walk.room, 2, 1024);
	then_each_was_seen_once(&seen, MANY);
}

static void link_seen(const void *key, const void *value, void *context)
{
	struct seen *seen = context;
	__u32 number, ifindex;

	memcpy(&number, key, sizeof(number));
	memcpy(&ifindex, value, sizeof(ifindex));
	assert_int_equal(ifindex, 1);
	seen->times[number]++;
	seen->count++;
}

/* The kernel refuses to read maps of this type in batches. */
static void a_kernel_that_refuses_batches_hands_on_one_by_one(void **state)
{
	auto_cleanup(cleanup_fd) int fd =
		map_new(BPF_MAP_TYPE_DEVMAP_HASH, sizeof(__u32), sizeof(__u32));
	struct seen seen = {};
	const __u32 ifindex = 1;

	(void)state;
	for (__u32 key = 0; key < MANY; key++)
		assert_int_equal(bpf_map_update_elem(fd, &key, &ifindex, BPF_ANY), 0);
	assert_int_equal(map_each(fd, link_seen, &seen), 0);
	then_each_was_seen_once(&seen, MANY);
}

static void large_value_seen(const void *key, const void *value, void *context)
{
	const char *bytes = value;
	size_t *count = context;

	(void)key;
	assert_int_equal(bytes[LARGE_VALUE - 1], 7);
	(*count)++;
}

static void a_walk_reserves_no_more_than_the_map_has_entries(void **state)
{
	auto_cleanup(cleanup_fd) int one =
		map_new_of(BPF_MAP_TYPE_ARRAY, sizeof(__u32), LARGE_VALUE, 1);
	auto_cleanup(cleanup_fd) int hash =
		map_new_of(BPF_MAP_TYPE_HASH, sizeof(__u32), LARGE_VALUE, 3);
	auto_cleanup(map_walk_fini) struct map_walk walk_one;
	auto_cleanup(map_walk_fini) struct map_walk walk_hash;
	const char value[LARGE_VALUE] = {[LARGE_VALUE - 1] = 7};
	size_t count = 0;

	(void)state;
	for (__u32 key = 0; key < 3; key++)
		assert_int_equal(bpf_map_update_elem(hash, &key, value, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(one, &(__u32){0}, value, BPF_ANY), 0);
	assert_int_equal(map_walk_init(&walk_one, one), 0);
	assert_int_equal(walk_one.room, 1);
	assert_int_equal(map_walk_init(&walk_hash, hash), 0);
	assert_int_equal(walk_hash.room, 3);
	assert_int_equal(map_each(one, large_value_seen, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(map_each(hash, large_value_seen, &count), 0);
	assert_int_equal(count, 1 + 3);
}

/* The flow table may grow while the agent reads it. */
static void a_step_is_bounded_and_needs_no_descriptor_of_the_caller(void **state)
{
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = -1};
	int fd = hash_new(MANY), more = 1, steps = 0;

	(void)state;
	assert_int_equal(map_walk_init(&walk, fd), 0);
	assert_int_equal(close(fd), 0);
	while (more > 0) {
		const size_t before = seen.count;

		more = map_step(&walk, entry_seen, &seen);
		assert_in_range(seen.count - before, 0, 1024);
		steps++;
	}
	assert_int_equal(more, 0);
	assert_true(steps > MANY / 1024);
	then_each_was_seen_once(&seen, MANY);
}

static void an_entry_may_be_deleted_when_it_is_handed_on(void **state)
{
	auto_cleanup(cleanup_fd) int hash = hash_new(MANY);
	auto_cleanup(cleanup_fd) int one_by_one = hash_new(MANY);
	auto_cleanup(cleanup_fd) int trie = trie_new(MANY);
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = hash};

	(void)state;
	assert_int_equal(map_each(hash, entry_seen, &seen), 0);
	then_each_was_seen_once(&seen, MANY);
	then_entries_are_left(hash, 0);

	seen = (struct seen){.delete_from = one_by_one};
	assert_int_equal(map_walk_init(&walk, one_by_one), 0);
	walk.has_no_batches = true;
	while (map_step(&walk, entry_seen, &seen) > 0)
		;
	then_each_was_seen_once(&seen, MANY);
	then_entries_are_left(one_by_one, 0);

	seen = (struct seen){.delete_from = trie};
	assert_int_equal(map_each(trie, range_seen, &seen), 0);
	then_each_was_seen_once(&seen, MANY);
	then_entries_are_left(trie, 0);
}

/* Every CPU gets its number in addition, so that a CPU left out or counted twice is noticed. */
static void cpu_value_write(int fd, __u32 key, struct cpu_value value, size_t value_size)
{
	size_t size = (value_size + 7) / 8 * 8;
	int cpus = libbpf_num_possible_cpus();
	auto_cleanup(cleanup_free) char *values = calloc((size_t)cpus, size);

	assert_non_null(values);
	for (int cpu = 0; cpu < cpus; cpu++) {
		const struct cpu_value one = {.packets = value.packets + (__u64)cpu,
					      .bytes = value.bytes + (__u32)cpu};

		memcpy(values + (size_t)cpu * size, &one, value_size);
	}
	assert_int_equal(bpf_map_update_elem(fd, &key, values, BPF_ANY), 0);
}

static void sum_deleted(const void *key, const void *value, void *context)
{
	const int *fd = context;

	(void)value;
	assert_int_equal(bpf_map_delete_elem(*fd, key), 0);
}

static void an_entry_with_values_of_all_cpus_may_be_deleted(void **state)
{
	auto_cleanup(cleanup_fd) int fd =
		map_new(BPF_MAP_TYPE_PERCPU_HASH, sizeof(__u32), sizeof(__u64));

	(void)state;
	for (__u32 key = 0; key < 100; key++)
		cpu_value_write(fd, key, (struct cpu_value){.packets = key}, sizeof(__u64));
	assert_int_equal(map_each(fd, sum_deleted, &fd), 0);
	then_entries_are_left(fd, 0);
}

/* Somebody else deletes the entry that the walk would go on from. */
static void position_deleted(const void *key, const void *value, void *context)
{
	struct seen *seen = context;
	__u32 number, next;

	(void)value;
	memcpy(&number, key, sizeof(number));
	seen->times[number] = 1;
	if (seen->delete_from < 0 || bpf_map_get_next_key(seen->delete_from, key, &next))
		return;
	assert_int_equal(bpf_map_delete_elem(seen->delete_from, &next), 0);
	seen->times[next] = 1;
	seen->delete_from = -1;
}

static void a_walk_ends_though_its_position_is_deleted(void **state)
{
	auto_cleanup(cleanup_fd) int fd = hash_new(MANY);
	auto_cleanup(map_walk_fini) struct map_walk walk;
	struct seen seen = {.delete_from = fd};
	int more;

	(void)state;
	assert_int_equal(map_walk_init(&walk, fd), 0);
	walk.has_no_batches = true;
	while ((more = map_step(&walk, position_deleted, &seen)) > 0)
		;
	assert_int_equal(more, 0);
	for (__u32 number = 0; number < MANY; number++)
		assert_int_equal(seen.times[number], 1);
	then_entries_are_left(fd, MANY - 1);
}

static bool is_small_and_even(const void *key, const void *context)
{
	const __u32 *limit = context;
	__u32 number;

	memcpy(&number, key, sizeof(number));
	return number < *limit && number % 2 == 0;
}

static bool range_is_small(const void *key, const void *context)
{
	const struct trie_key *range = key;
	const __u32 *limit = context;
	__u32 number;

	memcpy(&number, range->bytes, sizeof(number));
	return number < *limit;
}

static void only_what_is_wanted_stays_in_a_map(void **state)
{
	auto_cleanup(cleanup_fd) int hash = hash_new(MANY);
	auto_cleanup(cleanup_fd) int trie = trie_new(MANY);
	struct seen seen = {.delete_from = -1};
	const __u32 limit = 1000;
	__u32 value;

	(void)state;
	assert_int_equal(map_keep_only(hash, is_small_and_even, &limit), 0);
	then_entries_are_left(hash, limit / 2);
	for (__u32 key = 0; key < MANY; key++)
		assert_int_equal(!bpf_map_lookup_elem(hash, &key, &value),
				 key < limit && key % 2 == 0);
	assert_int_equal(map_keep_only(hash, is_never, NULL), 0);
	then_entries_are_left(hash, 0);

	assert_int_equal(map_keep_only(trie, range_is_small, &limit), 0);
	assert_int_equal(map_each(trie, range_seen, &seen), 0);
	then_each_was_seen_once(&seen, limit);
}

static void an_entry_that_cannot_be_deleted_is_an_error(void **state)
{
	auto_cleanup(cleanup_fd) int fd = map_new(BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(__u32));

	(void)state;
	assert_int_equal(map_keep_only(fd, is_never, NULL), -EINVAL);
}

static void then_it_is_the_sum(const struct cpu_value *sum, struct cpu_value value)
{
	__u32 cpus = (__u32)libbpf_num_possible_cpus();

	assert_int_equal(sum->packets, value.packets * cpus + cpus * (cpus - 1) / 2);
	assert_int_equal(sum->bytes, value.bytes * cpus + cpus * (cpus - 1) / 2);
}

static void sum_seen(const void *key, const void *value, void *context)
{
	struct cpu_value *seen = context;
	__u32 number;

	memcpy(&number, key, sizeof(number));
	if (number == 7)
		memcpy(seen, value, CPU_VALUE_SIZE);
}

static void values_of_all_cpus_are_added(void **state)
{
	static const enum bpf_map_type types[] = {
		BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH};
	const struct cpu_value value = {.packets = 1ULL << 40, .bytes = 500};
	const __u32 key = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		auto_cleanup(cleanup_fd) int fd = map_new(types[i], sizeof(__u32), CPU_VALUE_SIZE);
		auto_cleanup(cleanup_free) void *values = map_cpu_values_new(CPU_VALUE_SIZE);
		struct cpu_value sum = {}, found = {};

		cpu_value_write(fd, key, value, CPU_VALUE_SIZE);
		assert_int_equal(map_each(fd, sum_seen, &sum), 0);
		then_it_is_the_sum(&sum, value);
		assert_int_equal(map_lookup_sum(fd, &key, CPU_VALUE_SIZE, values, &found), 0);
		then_it_is_the_sum(&found, value);
	}
}

static void a_sum_without_an_entry_is_an_error(void **state)
{
	auto_cleanup(cleanup_fd) int fd =
		map_new(BPF_MAP_TYPE_PERCPU_HASH, sizeof(__u32), sizeof(__u64));
	const __u32 key = 7;
	auto_cleanup(cleanup_free) void *values = map_cpu_values_new(sizeof(__u64));
	__u64 sum;

	(void)state;
	assert_int_equal(map_lookup_sum(fd, &key, sizeof(sum), values, &sum), -ENOENT);
}

static void a_map_has_room_and_takes_memory(void **state)
{
	auto_cleanup(cleanup_fd) int fd = hash_new(0);

	(void)state;
	assert_int_equal(map_max_entries(fd), ENTRIES);
	/* Before Linux 6.4 it is what keys and values take, and no more. */
	assert_true(map_memory(fd) >= ENTRIES * 2 * sizeof(__u32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry_of_a_hash_table_is_handed_on_once),
		cmocka_unit_test(every_entry_of_an_array_is_handed_on_once),
		cmocka_unit_test(every_range_of_a_trie_is_handed_on_once),
		cmocka_unit_test(an_empty_map_has_nothing_to_hand_on),
		cmocka_unit_test(what_is_no_map_is_an_error),
		cmocka_unit_test(a_map_without_batches_is_read_one_by_one),
		cmocka_unit_test(a_kernel_that_refuses_batches_hands_on_one_by_one),
		cmocka_unit_test(a_walk_reserves_no_more_than_the_map_has_entries),
		cmocka_unit_test(a_bucket_larger_than_the_batch_makes_it_grow),
		cmocka_unit_test(a_step_is_bounded_and_needs_no_descriptor_of_the_caller),
		cmocka_unit_test(an_entry_may_be_deleted_when_it_is_handed_on),
		cmocka_unit_test(an_entry_with_values_of_all_cpus_may_be_deleted),
		cmocka_unit_test(a_walk_ends_though_its_position_is_deleted),
		cmocka_unit_test(only_what_is_wanted_stays_in_a_map),
		cmocka_unit_test(an_entry_that_cannot_be_deleted_is_an_error),
		cmocka_unit_test(values_of_all_cpus_are_added),
		cmocka_unit_test(a_sum_without_an_entry_is_an_error),
		cmocka_unit_test(a_map_has_room_and_takes_memory),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
