/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Free ranges of `slots`: a buddy allocator (Knowlton 1965). The length of a range is a power of
 * two, so that freed neighbours join again, and a call takes at most one step per power.
 */

#include <stdint.h>

#include "publish/bit_set.h"

#define BUDDY_ORDERS 27

struct buddy {
	uint32_t size;
	struct bit_set free[BUDDY_ORDERS]; /* free blocks by order, numbered first >> order */
};

/* Makes all of 0 to size - 1 free. Returns 0 or -ENOMEM. */
int buddy_init(struct buddy *buddy, uint32_t size);
void buddy_fini(struct buddy *buddy);

/*
 * Takes a range of at least `count` entries, out of the lowest of the smallest free blocks that
 * fit. Returns 0 or -ENOSPC.
 */
int buddy_allocate(struct buddy *buddy, uint32_t count, uint32_t *ret_first);

/*
 * Takes the range at `first`, as an earlier run had it. Returns 0, or -EBUSY: part of it is taken,
 * or buddy_allocate could not have returned it.
 */
int buddy_reserve(struct buddy *buddy, uint32_t first, uint32_t count);

/* Frees a range, which was taken with the same count. */
void buddy_free(struct buddy *buddy, uint32_t first, uint32_t count);
