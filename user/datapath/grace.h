/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Waits until every program that runs now has ended: what nobody could find when the wait began,
 * nobody looks at any more when it is over. That is a grace period of the kernel's RCU, some
 * milliseconds, which programs of the hooks run within (membarrier(2), MEMBARRIER_CMD_GLOBAL).
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* Returns 0 or a negative errno: the kernel, or a filter of system calls, does not know it. */
int grace_wait(void);

/* A wait beside the loop, on a thread of libuv's; all else is on the loop's own. */
struct grace {
	uv_work_t work;
	void (*over)(void *context); /* called in the loop */
	void *context;
	uint64_t begun_ns; /* CLOCK_MONOTONIC: when the wait that runs began */
	uint64_t over_ns;  /* ... and the last one that is over; 0: none is */
	bool is_running;
};

/* Begins a wait, if none runs. */
void grace_begin(struct grace *grace, uv_loop_t *loop);
