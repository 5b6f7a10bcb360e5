/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/grow.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mapped_array.h"
#include "fairlead/atomic.h"
#include "fairlead/counters.h"
#include "fairlead/types.h"

/* Longer than any flow lives without a reply. */
#define NEW_FLOWS_LAST_S 3600

struct copy {
	int to, err;
};

static void copy_one(const void *key, const void *value, void *context)
{
	struct copy *copy = context;

	if (!copy->err && bpf_map_update_elem(copy->to, key, value, BPF_ANY))
		copy->err = -errno;
}

static int copy_hash(int from, int to)
{
	struct copy copy = {.to = to};
	int err = map_each(from, copy_one, &copy);

	return copy.err ? copy.err : err;
}

/* With the values of each CPU, which map_each would add. */
static int copy_array(int from, int to, const struct bpf_map_info *info)
{
	auto_cleanup(cleanup_free) void *value = map_cpu_values_new(info->value_size);

	if (!value)
		return -ENOMEM;
	for (uint32_t index = 0; index < info->max_entries; index++) {
		if (bpf_map_lookup_elem(from, &index, value) ||
		    bpf_map_update_elem(to, &index, value, BPF_ANY))
			return -errno;
	}
	return 0;
}

/*
 * The counters of each CPU, in the order of FAIRLEAD_COUNTERS: early versions had an entry for
 * each, others have all of theirs in one. What the programs count in the old map from now on is
 * lost.
 */
static int copy_counters(int from, int to, const struct bpf_map_info *info)
{
	const int cpus = libbpf_num_possible_cpus();
	const size_t old_size = info->value_size;
	auto_cleanup(cleanup_free) struct counters *counters = NULL;
	auto_cleanup(cleanup_free) char *values = NULL;
	const uint32_t zero = 0;

	if (cpus < 0)
		return cpus;
	counters = calloc((size_t)cpus, sizeof(*counters));
	values = calloc((size_t)cpus, old_size);
	if (!counters || !values)
		return -ENOMEM;
	for (uint32_t index = 0; index < info->max_entries && index * old_size < sizeof(*counters);
	     index++) {
		const size_t at = index * old_size;
		const size_t rest = sizeof(*counters) - at;

		if (bpf_map_lookup_elem(from, &index, values))
			return -errno;
		for (size_t cpu = 0; cpu < (size_t)cpus; cpu++)
			memcpy((char *)&counters[cpu] + at, values + cpu * old_size,
			       old_size < rest ? old_size : rest);
	}
	return bpf_map_update_elem(to, &zero, counters, BPF_ANY) ? -errno : 0;
}

/* The time stored here outlasts all flows that are new now. */
int grow_expect_flows(int address_flows, uint32_t count)
{
	const uint32_t now_s = (uint32_t)(clock_now_ns() / NS_PER_S);
	const uint32_t until_s = now_s + NEW_FLOWS_LAST_S;
	struct address_flows *busy = mapped_array_of(address_flows, count, sizeof(*busy));

	if (!busy)
		return -errno;
	for (uint32_t index = 0; index < count; index++) {
		STORE_RELAXED(busy[index].new_until_s, until_s);
		STORE_RELAXED(busy[index].direct_until_s, until_s);
		STORE_RELAXED(busy[index].datagram_s, now_s);
	}
	mapped_array_free(busy, count, sizeof(*busy));
	return 0;
}

int grow_copy(enum map_id id, int from, int to)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	if (!(map_table[id].traits & MAP_GROWS) && id != MAP_COUNTERS)
		return -EINVAL;
	if (bpf_obj_get_info_by_fd(from, &info, &info_size))
		return -errno;
	if (id == MAP_COUNTERS)
		return copy_counters(from, to, &info);
	/* Programs count in the old map until they are replaced: grow_catch_up adds the counts. */
	if (id == MAP_ADDRESS_FLOWS)
		return grow_expect_flows(to, info.max_entries);
	if (info.type != BPF_MAP_TYPE_ARRAY && info.type != BPF_MAP_TYPE_PERCPU_ARRAY)
		return copy_hash(from, to);
	return copy_array(from, to, &info);
}

static int add_counts(int from, int to)
{
	const uint32_t count = map_max_entries(from);
	struct address_flows *smaller = mapped_array_of(from, count, sizeof(*smaller));
	struct address_flows *larger = mapped_array_of(to, count, sizeof(*larger));
	const int err = smaller && larger ? 0 : -errno;

	for (uint32_t i = 0; smaller && larger && i < count; i++) {
		uint32_t confirmed = LOAD_RELAXED(smaller[i].confirmed);

		ATOMIC_ADD(larger[i].confirmed, confirmed);
		if (larger[i].direct_until_s < smaller[i].direct_until_s)
			larger[i].direct_until_s = smaller[i].direct_until_s;
	}
	mapped_array_free(smaller, count, sizeof(*smaller));
	mapped_array_free(larger, count, sizeof(*larger));
	return err;
}

/* Of two backends that a client had, the one that it had last. */
static void copy_later_affinity(const void *key, const void *value, void *context)
{
	struct copy *copy = context;
	struct affinity before, after;

	memcpy(&before, value, sizeof(before));
	if (!bpf_map_lookup_elem(copy->to, key, &after) && after.last_use_s >= before.last_use_s)
		return;
	copy_one(key, value, context);
}

int grow_catch_up(enum map_id id, int from, int to)
{
	struct copy copy = {.to = to};
	int err;

	if (id == MAP_ADDRESS_FLOWS)
		return add_counts(from, to);
	if (id != MAP_AFFINITY)
		return 0;
	err = map_each(from, copy_later_affinity, &copy);
	return copy.err ? copy.err : err;
}
