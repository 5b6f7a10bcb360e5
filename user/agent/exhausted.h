/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Tells in the log whose flows found no free source port. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "fairlead/types.h"

/* How often the programs' notes are looked at, and how often one service port is told of. */
#define EXHAUSTED_LOOK_MS  10000
#define EXHAUSTED_AGAIN_NS 60000000000ULL

/* What was told of a service port. */
struct exhausted_told {
	__u32 service; /* 0: the entry is free */
	__u64 count;
	uint64_t at_ns; /* 0: nothing yet */
};

/*
 * How many flows are news, and to be told at `now_ns`; 0: none, or some were told less than a
 * minute ago. Remembers what it says. Silent.
 */
__u64 exhausted_news(struct exhausted_told *told, const struct exhausted *seen, uint64_t now_ns);

struct exhausted_watch;

/*
 * Looks at `exhausted` from time to time in the loop; `service_names` says whose flows they were.
 * Both descriptors are borrowed. What happened before is told too, if it is less than a minute ago.
 * Logs. Returns 0 or a negative errno.
 */
int exhausted_watch_open(uv_loop_t *loop, int exhausted, int service_names,
			 struct exhausted_watch **ret_watch);

/* The loop's next turn frees it. NULL is fine. */
void exhausted_watch_close(struct exhausted_watch *watch);
