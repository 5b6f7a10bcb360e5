/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A set of small numbers that can say its first member: a bit a number, and above each 64 of them a
 * bit that says whether any is set. Memory is touched only around members.
 */

#include <stdbool.h>
#include <stdint.h>

#define BIT_SET_LEVELS 6 /* 64 to the 6th: more than 32 bits can count */
#define BIT_SET_NONE   UINT32_MAX

struct bit_set {
	uint32_t size;
	unsigned int level_count;
	uint64_t *levels[BIT_SET_LEVELS]; /* the lowest first */
};

/* The empty set of numbers below `size`. Returns 0 or -ENOMEM. */
int bit_set_init(struct bit_set *bits, uint32_t size);
void bit_set_fini(struct bit_set *bits);

void bit_set_add(struct bit_set *bits, uint32_t number);
void bit_set_remove(struct bit_set *bits, uint32_t number);

/* False too for numbers that cannot be in it. */
bool bit_set_has(const struct bit_set *bits, uint32_t number);

/* The lowest member, or BIT_SET_NONE. */
uint32_t bit_set_first(const struct bit_set *bits);
