/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/buddy.h"

#include <errno.h>

static unsigned int order_of(uint32_t count)
{
	unsigned int order = 0;

	while ((UINT64_C(1) << order) < count)
		order++;
	return order;
}

static void block_add(struct buddy *buddy, uint32_t first, unsigned int order)
{
	bit_set_add(&buddy->free[order], first >> order);
}

static void block_remove(struct buddy *buddy, uint32_t first, unsigned int order)
{
	bit_set_remove(&buddy->free[order], first >> order);
}

static bool block_is_free(const struct buddy *buddy, uint32_t first, unsigned int order)
{
	return bit_set_has(&buddy->free[order], first >> order);
}

/*
 * Takes the part of order `order` that begins at `first` out of a free block; the rest stays free.
 */
static void block_split(struct buddy *buddy, uint32_t first, unsigned int from, unsigned int order)
{
	block_remove(buddy, first, from);
	while (from > order) {
		from--;
		block_add(buddy, first ^ (1U << from), from);
	}
}

int buddy_init(struct buddy *buddy, uint32_t size)
{
	uint32_t first = 0;

	*buddy = (struct buddy){.size = size};
	for (unsigned int order = 0; order < BUDDY_ORDERS; order++) {
		if (bit_set_init(&buddy->free[order], size >> order)) {
			buddy_fini(buddy);
			return -ENOMEM;
		}
	}
	/* Cut the range into the largest aligned blocks that fit. */
	while (first < size) {
		unsigned int order = BUDDY_ORDERS - 1;

		while (first & ((1U << order) - 1) || (1U << order) > size - first)
			order--;
		block_add(buddy, first, order);
		first += 1U << order;
	}
	return 0;
}

void buddy_fini(struct buddy *buddy)
{
	for (unsigned int order = 0; order < BUDDY_ORDERS; order++)
		bit_set_fini(&buddy->free[order]);
	*buddy = (struct buddy){};
}

int buddy_allocate(struct buddy *buddy, uint32_t count, uint32_t *ret_first)
{
	unsigned int order = order_of(count);

	for (unsigned int from = order; from < BUDDY_ORDERS; from++) {
		uint32_t block = bit_set_first(&buddy->free[from]);

		if (block == BIT_SET_NONE)
			continue;
		*ret_first = block << from;
		block_split(buddy, *ret_first, from, order);
		return 0;
	}
	return -ENOSPC;
}

int buddy_reserve(struct buddy *buddy, uint32_t first, uint32_t count)
{
	unsigned int order = order_of(count);

	if (order >= BUDDY_ORDERS || first & ((1U << order) - 1))
		return -EBUSY;
	for (unsigned int from = order; from < BUDDY_ORDERS; from++) {
		if (!block_is_free(buddy, first, from))
			continue;
		block_split(buddy, first, from, order);
		return 0;
	}
	return -EBUSY;
}

void buddy_free(struct buddy *buddy, uint32_t first, uint32_t count)
{
	unsigned int order = order_of(count);

	for (; order < BUDDY_ORDERS - 1; order++) {
		uint32_t other = first ^ (1U << order);

		if (!block_is_free(buddy, other, order))
			break;
		block_remove(buddy, other, order);
		first &= ~(1U << order);
	}
	block_add(buddy, first, order);
}
