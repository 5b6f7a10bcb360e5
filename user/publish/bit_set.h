/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A set of small numbers that finds its first member fast: a bit per number and, above each 64
 * bits, one that says whether any of them is set. Memory is touched only around members.
 */

#include <stdbool.h>
#include <stdint.h>

#define BIT_SET_LEVELS 6 /* 64 to the power of 6 exceeds 32 bits */
#define BIT_SET_NONE   UINT32_MAX

struct bit_set {
	uint32_t size;
	unsigned int level_count;
	uint64_t *levels[BIT_SET_LEVELS]; /* lowest level first */
};

/* Makes the set empty, for numbers below `size`. Returns 0 or -ENOMEM. */
int bit_set_init(struct bit_set *bits, uint32_t size);
void bit_set_fini(struct bit_set *bits);

void bit_set_add(struct bit_set *bits, uint32_t number);
void bit_set_remove(struct bit_set *bits, uint32_t number);

/* False also for numbers not below `size`. */
bool bit_set_has(const struct bit_set *bits, uint32_t number);

/* The lowest member, or BIT_SET_NONE. */
uint32_t bit_set_first(const struct bit_set *bits);
