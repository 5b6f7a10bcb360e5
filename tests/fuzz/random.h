/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Numbers that come again with their seed (splitmix64). */

#include <stdbool.h>

#include <linux/types.h>

struct random {
	__u64 state;
};

static inline __u64 random_next(struct random *random)
{
	__u64 mixed = random->state += 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return mixed ^ mixed >> 31;
}

/* From 0 to count - 1. */
static inline __u32 random_below(struct random *random, __u32 count)
{
	return (__u32)((random_next(random) >> 32) * count >> 32);
}

/* True once in so many times. */
static inline bool random_one_in(struct random *random, __u32 count)
{
	return !random_below(random, count);
}
