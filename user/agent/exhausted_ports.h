/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Logs the Services whose flows found no free source port. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "fairlead/types.h"

/*
 * How often the programs' counts are read, and the shortest time between two log lines about the
 * same service port.
 */
#define EXHAUSTED_LOOK_MS  10000
#define EXHAUSTED_AGAIN_NS 60000000000ULL

/* What has been logged about a service port. */
struct exhausted_told {
	__u32 service; /* 0: the entry is free */
	__u64 count;
	uint64_t at_ns; /* 0: nothing yet */
};

/*
 * The number of flows to log at `now_ns`; 0: no new ones, or this service port was logged less than
 * a minute ago. Records what it returns as logged. Silent.
 */
__u64 exhausted_news(struct exhausted_told *told, const struct exhausted *seen, uint64_t now_ns);

struct exhausted_watch;

/*
 * Reads `exhausted` periodically in the loop; `service_names` maps the flows to their Services.
 * Both descriptors are borrowed. Flows dropped before the start are logged too, if that was less
 * than a minute ago. Logs. Returns 0 or a negative errno.
 */
int exhausted_watch_open(uv_loop_t *loop, int exhausted, int service_names,
			 struct exhausted_watch **ret_watch);

/* The loop's next iteration frees it. NULL is fine. */
void exhausted_watch_close(struct exhausted_watch *watch);
