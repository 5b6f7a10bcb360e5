/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A set of small numbers that can say its first member: a bit a number, and above each 64 of them a
 * bit that says whether any is set. Memory is touched only around members.
 */

#include <stdbool.h>
#include <stdint.h>

#define BITS_LEVELS 6 /* 64 to the 6th: more than 32 bits can count */
#define BITS_NONE   UINT32_MAX

struct bits {
	uint32_t size;
	unsigned int level_count;
	uint64_t *levels[BITS_LEVELS]; /* the lowest first */
};

/* The empty set of numbers below `size`. Returns 0 or -ENOMEM. */
int bits_init(struct bits *bits, uint32_t size);
void bits_fini(struct bits *bits);

void bits_add(struct bits *bits, uint32_t number);
void bits_remove(struct bits *bits, uint32_t number);

/* False too for numbers that cannot be in it. */
bool bits_has(const struct bits *bits, uint32_t number);

/* The lowest member, or BITS_NONE. */
uint32_t bits_first(const struct bits *bits);
