/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Which ranges of `slots` are free: a buddy allocator (Knowlton 1965). Ranges are powers of two
 * long, so that freed neighbours join again, and each call costs at most one step a power.
 */

#include <stdbool.h>
#include <stdint.h>

#include "publish/bit_set.h"

#define BUDDY_ORDERS 27

struct buddy {
	uint32_t size;
	struct bit_set free[BUDDY_ORDERS]; /* free blocks by order; a block's number is its first >>
					   order */
};

/* All of 0 to size - 1 is free. Returns 0 or -ENOMEM. */
int buddy_init(struct buddy *buddy, uint32_t size);
void buddy_fini(struct buddy *buddy);

/* Takes a range of at least `count` entries, the lowest that is no longer than needed. Returns 0 or
 * -ENOSPC. */
int buddy_allocate(struct buddy *buddy, uint32_t count, uint32_t *ret_first);

/* Takes the range that begins at `first`, as an earlier run had it. Returns 0, or -EBUSY: part of
 * it is taken, or it is none that buddy_allocate gives. */
int buddy_reserve(struct buddy *buddy, uint32_t first, uint32_t count);

/* Gives a range back, with the count it was taken with. */
void buddy_free(struct buddy *buddy, uint32_t first, uint32_t count);
