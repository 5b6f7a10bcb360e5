/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/slot_lists.h"

#include <errno.h>
#include <string.h>

#include "base/mapped_array.h"
#include "fairlead/atomic.h"
#include "fairlead/limits.h"

int slot_lists_init(struct slot_lists *lists, const struct publisher_maps *maps,
		    struct retirement *retirement, struct shortage *shortage)
{
	*lists = (struct slot_lists){
		.max = maps->slots_max,
		.retirement = retirement,
		.shortage = shortage,
	};
	lists->slots = mapped_array_of(maps->slots, lists->max, sizeof(*lists->slots));
	if (!lists->slots)
		return -errno;
	return buddy_init(&lists->free, lists->max);
}

void slot_lists_fini(struct slot_lists *lists)
{
	mapped_array_free(lists->slots, lists->max, sizeof(*lists->slots));
	buddy_fini(&lists->free);
}

int slot_lists_write(struct slot_lists *lists, const uint32_t *ids, uint32_t count,
		     enum empty_verdict verdict, struct slot_range *ret_range)
{
	uint32_t first;

	*ret_range = (struct slot_range){.first = verdict};
	if (!count)
		return 0;
	if (count > SLOT_RANGE_MAX)
		return shortage_record(lists->shortage, FULL_LIST);
	if (buddy_allocate(&lists->free, count, &first))
		return shortage_record(lists->shortage, FULL_SLOTS);
	for (uint32_t i = 0; i < count; i++)
		lists->slots[first + i].backend = ids[i];
	*ret_range = (struct slot_range){.first = first, .count = count};
	lists->used += count;
	return 0;
}

/* No program has seen the range, so it needs no grace period. */
void slot_lists_drop(struct slot_lists *lists, struct slot_range range)
{
	if (!range.count)
		return;
	lists->used -= range.count;
	buddy_free(&lists->free, range.first, range.count);
}

bool slot_lists_adopt(struct slot_lists *lists, struct slot_range range)
{
	if (buddy_reserve(&lists->free, range.first, range.count))
		return false;
	lists->used += range.count;
	return true;
}

bool slot_lists_equal(const struct slot_lists *lists, struct slot_range range, const uint32_t *ids,
		      uint32_t count, enum empty_verdict verdict)
{
	if (range.count != count)
		return false;
	if (!count)
		return range.first == (uint32_t)verdict;
	for (uint32_t i = 0; i < count; i++) {
		if (lists->slots[range.first + i].backend != ids[i])
			return false;
	}
	return true;
}

void slot_lists_swing(struct slot_lists *lists, struct slot_range *word, struct slot_range range)
{
	struct slot_range before = *word;
	uint64_t value;

	_Static_assert(sizeof(range) == sizeof(value), "one 64-bit word");
	memcpy(&value, &range, sizeof(value));
	/* Pairs with service_slots(): a program that reads the new range sees its slots. */
	STORE_RELEASE(*(uint64_t *)(void *)word, value);
	if (!before.count)
		return;
	lists->used -= before.count;
	retire(lists->retirement, RETIRED_SLOTS, before.first, before.count);
}

/* The lists that a service port needs by its planned flags (rules E59 and E60). */
static bool uses_cluster(__u32 flags)
{
	return !(flags & SERVICE_INTERNAL_LOCAL) || flags & SERVICE_EXTERNAL;
}

static bool uses_local(__u32 flags)
{
	return flags & (SERVICE_INTERNAL_LOCAL | SERVICE_EXTERNAL_LOCAL);
}

static void list_empty(struct slot_lists *lists, struct slot_range *word)
{
	if (word->count || word->first)
		slot_lists_swing(lists, word, (struct slot_range){});
}

void slot_lists_empty_unused(struct slot_lists *lists, struct service *entry)
{
	if (!uses_cluster(entry->flags))
		list_empty(lists, &entry->cluster_slots);
	if (!uses_local(entry->flags))
		list_empty(lists, &entry->local_slots);
}

bool slot_lists_change_use(__u32 before, __u32 after)
{
	return (uses_cluster(before) && !uses_cluster(after)) ||
	       (uses_local(before) && !uses_local(after));
}

/* Binary search: ids in a range ascend. */
static bool list_has(const struct slot_lists *lists, struct slot_range range, uint32_t id)
{
	uint32_t low = range.first, high = range.first + range.count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (lists->slots[middle].backend == id)
			return true;
		if (lists->slots[middle].backend < id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool slot_lists_serve(const struct slot_lists *lists, const struct service *entry, uint32_t backend)
{
	/*
	 * Clients on the node are near: for them, external frontends use the Cluster set (rule
	 * F80).
	 */
	if (uses_cluster(entry->flags) && list_has(lists, entry->cluster_slots, backend))
		return true;
	return entry->flags & SERVICE_INTERNAL_LOCAL &&
	       list_has(lists, entry->local_slots, backend);
}
