/* SPDX-License-Identifier: BSD-2-Clause */

/* Lists of slots: written where no program looks, then swung into place with one store. */

#include <string.h>

#include "fairlead/atomic.h"
#include "fairlead/limits.h"
#include "publish/publisher_parts.h"

int list_write(struct publisher *publisher, const uint32_t *ids, uint32_t count,
	       enum empty_verdict verdict, struct slot_range *ret_range)
{
	uint32_t first;

	*ret_range = (struct slot_range){.first = verdict};
	if (!count)
		return 0;
	if (count > SLOT_RANGE_MAX)
		return publisher_is_full(publisher, FULL_LIST);
	if (buddy_allocate(&publisher->free_slots, count, &first))
		return publisher_is_full(publisher, FULL_SLOTS);
	for (uint32_t i = 0; i < count; i++)
		slot_at(publisher, first + i)->backend = ids[i];
	*ret_range = (struct slot_range){.first = first, .count = count};
	publisher->numbers.slots += count;
	return 0;
}

bool list_equals(const struct publisher *publisher, struct slot_range range, const uint32_t *ids,
		 uint32_t count, enum empty_verdict verdict)
{
	if (range.count != count)
		return false;
	if (!count)
		return range.first == (uint32_t)verdict;
	for (uint32_t i = 0; i < count; i++) {
		if (slot_at(publisher, range.first + i)->backend != ids[i])
			return false;
	}
	return true;
}

/* No program has seen the range, so it needs no grace period. */
void list_drop(struct publisher *publisher, struct slot_range range)
{
	if (!range.count)
		return;
	publisher->numbers.slots -= range.count;
	buddy_free(&publisher->free_slots, range.first, range.count);
}

static void list_retire(struct publisher *publisher, struct slot_range range)
{
	if (!range.count)
		return;
	publisher->numbers.slots -= range.count;
	retire(publisher, RETIRED_SLOTS, range.first, range.count);
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

static void list_empty(struct publisher *publisher, struct slot_range *word)
{
	if (word->count || word->first)
		list_swing(publisher, word, (struct slot_range){});
}

void list_empty_unused(struct publisher *publisher, uint32_t service)
{
	struct service *entry = service_at(publisher, service);

	if (!uses_cluster(entry->flags))
		list_empty(publisher, &entry->cluster_slots);
	if (!uses_local(entry->flags))
		list_empty(publisher, &entry->local_slots);
}

bool lists_change_use(__u32 before, __u32 after)
{
	return (uses_cluster(before) && !uses_cluster(after)) ||
	       (uses_local(before) && !uses_local(after));
}

void list_swing(struct publisher *publisher, struct slot_range *word, struct slot_range range)
{
	struct slot_range before = *word;
	uint64_t value;

	_Static_assert(sizeof(range) == sizeof(value), "one 64-bit word");
	memcpy(&value, &range, sizeof(value));
	/* Pairs with service_slots(): a program that reads the new range sees its slots. */
	STORE_RELEASE(*(uint64_t *)(void *)word, value);
	list_retire(publisher, before);
}

/* Binary search: ids in a range ascend. */
static bool list_has(const struct publisher *publisher, struct slot_range range, uint32_t id)
{
	uint32_t low = range.first, high = range.first + range.count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (slot_at(publisher, middle)->backend == id)
			return true;
		if (slot_at(publisher, middle)->backend < id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool service_lists(const struct publisher *publisher, uint32_t service, uint32_t backend)
{
	const struct service *entry = service_at(publisher, service);

	/*
	 * Clients on the node are near: for them, external frontends use the Cluster set (rule
	 * F80).
	 */
	if (uses_cluster(entry->flags) && list_has(publisher, entry->cluster_slots, backend))
		return true;
	return entry->flags & SERVICE_INTERNAL_LOCAL &&
	       list_has(publisher, entry->local_slots, backend);
}
