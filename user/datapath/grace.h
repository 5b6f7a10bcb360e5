/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Waits until every program that is running now has ended: after the wait, no program can hold an
 * entry that was already out of reach when the wait began. That is a grace period of the kernel's
 * RCU, some milliseconds, which covers the programs of our hooks (membarrier(2),
 * MEMBARRIER_CMD_GLOBAL).
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/*
 * Blocks for a grace period. Returns 0, or a negative errno: the kernel, or a filter of system
 * calls, does not offer membarrier(2).
 */
int grace_wait(void);

/* The same; where the kernel does not offer it, blocks for as long as a grace period may take. */
void grace_wait_or_guess(void);

/* A wait on a thread of libuv's, so that the loop goes on; all else runs on the loop's thread. */
struct grace {
	uv_work_t work;
	void (*over)(void *context); /* called on the loop's thread */
	void *context;
	uint64_t begun_ns; /* CLOCK_MONOTONIC: when the last wait began */
	uint64_t over_ns;  /* begun_ns of the last wait that is over; 0: none */
	bool is_running;
};

/* Begins a wait, unless one is running. */
void grace_begin(struct grace *grace, uv_loop_t *loop);
