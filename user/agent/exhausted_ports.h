/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Logs the Services whose flows found no free source port: each service port at most once a minute,
 * with the number of flows since the last line.
 */

#include <stdint.h>
#include <uv.h>

#include "base/rate_limit.h"
#include "fairlead/types.h"

/*
 * The number of flows to log at `now_ns`; 0: no new ones, or this service port was logged less than
 * a minute ago. Records in its `entry` what it returns as logged. Silent.
 */
__u64 exhausted_ports_unlogged(struct rate_limit_entry *entry, const struct exhausted *seen,
			       uint64_t now_ns);

struct exhausted_ports;

/*
 * Reads `exhausted` periodically in the loop; `service_names` maps the flows to their Services.
 * Both descriptors are borrowed. Flows dropped before the start are logged too, if that was less
 * than a minute ago. Logs. Returns 0 or a negative errno.
 */
int exhausted_ports_open(uv_loop_t *loop, int exhausted, int service_names,
			 struct exhausted_ports **ret_ports);

/* The loop's next iteration frees it. NULL is fine. */
void exhausted_ports_close(struct exhausted_ports *ports);
