/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * How work grows with the number of things in its input, in CPU time: other work on the machine
 * changes that little, and what it changes, the best of several rounds leaves out. Include it after
 * cmocka.h.
 */

#include <stdint.h>
#include <time.h>

#define GROWTH_ROUNDS 5

static inline uint64_t growth_cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Does the work on so many things, and returns the CPU time that it took, without its set-up. */
typedef uint64_t (*growth_work_fn)(unsigned int count, const void *context);

/*
 * Four times as much takes four times as long where each thing is looked at once, and sixteen times
 * where each is compared with all others. The bound is in the middle, so `count` must be large
 * enough that comparisons would be most of the work.
 */
static inline void assert_grows_evenly(growth_work_fn work, const void *context, unsigned int count)
{
	uint64_t few_ns = UINT64_MAX, many_ns = UINT64_MAX;

	for (int round = 0; round < GROWTH_ROUNDS; round++) {
		uint64_t took_ns = work(count, context);

		few_ns = took_ns < few_ns ? took_ns : few_ns;
		took_ns = work(4 * count, context);
		many_ns = took_ns < many_ns ? took_ns : many_ns;
		if (many_ns < 8 * few_ns)
			return;
	}
	fail_msg("%u take %ju us, and four times as many %ju us", count, (uintmax_t)few_ns / 1000,
		 (uintmax_t)many_ns / 1000);
}
