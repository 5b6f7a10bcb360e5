/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/buddy.h"

#include <errno.h>
#include <stdlib.h>

static unsigned int order_of(uint32_t count)
{
	unsigned int order = 0;

	while ((UINT64_C(1) << order) < count)
		order++;
	return order;
}

static void block_link(struct buddy *buddy, uint32_t first, unsigned int order)
{
	uint32_t head = buddy->heads[order];

	buddy->order[first] = (uint8_t)(order + 1);
	buddy->next[first] = head;
	buddy->previous[first] = BUDDY_NONE;
	if (head != BUDDY_NONE)
		buddy->previous[head] = first;
	buddy->heads[order] = first;
}

static void block_unlink(struct buddy *buddy, uint32_t first)
{
	unsigned int order = buddy->order[first] - 1U;
	uint32_t next = buddy->next[first], previous = buddy->previous[first];

	if (previous == BUDDY_NONE)
		buddy->heads[order] = next;
	else
		buddy->next[previous] = next;
	if (next != BUDDY_NONE)
		buddy->previous[next] = previous;
	buddy->order[first] = 0;
}

/* Puts the upper halves back until the block is of the order that is wanted. */
static void block_split(struct buddy *buddy, uint32_t first, unsigned int from, unsigned int order)
{
	while (from > order) {
		from--;
		block_link(buddy, first + (1U << from), from);
	}
}

int buddy_init(struct buddy *buddy, uint32_t size)
{
	uint32_t first = 0;

	*buddy = (struct buddy){.size = size};
	for (unsigned int i = 0; i < BUDDY_ORDERS; i++)
		buddy->heads[i] = BUDDY_NONE;
	buddy->next = calloc(size, sizeof(*buddy->next));
	buddy->previous = calloc(size, sizeof(*buddy->previous));
	buddy->order = calloc(size, sizeof(*buddy->order));
	if (!buddy->next || !buddy->previous || !buddy->order) {
		buddy_fini(buddy);
		return -ENOMEM;
	}
	/* The largest aligned blocks that fit, one after the other. */
	while (first < size) {
		unsigned int order = BUDDY_ORDERS - 1;

		while (first & ((1U << order) - 1) || (1U << order) > size - first)
			order--;
		block_link(buddy, first, order);
		first += 1U << order;
	}
	return 0;
}

void buddy_fini(struct buddy *buddy)
{
	free(buddy->next);
	free(buddy->previous);
	free(buddy->order);
	*buddy = (struct buddy){};
}

int buddy_allocate(struct buddy *buddy, uint32_t count, uint32_t *ret_first)
{
	unsigned int order = order_of(count), from = order;

	while (from < BUDDY_ORDERS && buddy->heads[from] == BUDDY_NONE)
		from++;
	if (from >= BUDDY_ORDERS)
		return -ENOSPC;
	*ret_first = buddy->heads[from];
	block_unlink(buddy, *ret_first);
	block_split(buddy, *ret_first, from, order);
	return 0;
}

int buddy_reserve(struct buddy *buddy, uint32_t first, uint32_t count)
{
	unsigned int order = order_of(count);
	uint32_t start = first;
	unsigned int from;

	if (first >= buddy->size || order >= BUDDY_ORDERS || first & ((1U << order) - 1))
		return -EBUSY;
	/* The free block that holds it begins at `first` with low bits cleared. */
	for (from = order; from < BUDDY_ORDERS; from++) {
		start = first & ~((1U << from) - 1);
		if (buddy->order[start] == from + 1)
			break;
	}
	if (from == BUDDY_ORDERS)
		return -EBUSY;
	block_unlink(buddy, start);
	while (from > order) {
		from--;
		if (first & (1U << from)) {
			block_link(buddy, start, from);
			start += 1U << from;
		} else {
			block_link(buddy, start + (1U << from), from);
		}
	}
	return 0;
}

void buddy_free(struct buddy *buddy, uint32_t first, uint32_t count)
{
	unsigned int order = order_of(count);

	for (; order < BUDDY_ORDERS - 1; order++) {
		uint32_t other = first ^ (1U << order);

		if ((uint64_t)other + (1U << order) > buddy->size || buddy->order[other] != order + 1)
			break;
		block_unlink(buddy, other);
		first &= ~(1U << order);
	}
	block_link(buddy, first, order);
}
