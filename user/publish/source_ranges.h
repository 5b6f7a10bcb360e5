/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Source ranges: the clients that may use the load-balancer IPs of a service port. */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "plan/plan.h"
#include "publish/service_set.h"
#include "publish/shortage.h"

struct source_ranges {
	int map; /* borrowed */
	uint32_t count;
	struct shortage *shortage; /* borrowed */
};

/*
 * Adds the planned ranges behind the existing ones, before the port begins to check them, so that
 * no permitted client is refused in between. Ends with source_ranges_remove_others, or with
 * source_ranges_undo, which removes all but the first `before`. Returns 0, -ENOSPC or another
 * negative errno.
 */
int source_ranges_add(struct source_ranges *ranges, struct port_record *port,
		      const struct planned_port *planned);
void source_ranges_undo(struct source_ranges *ranges, struct port_record *port, uint32_t before);

/* Removes the ranges that are not in the plan; NULL: all. Returns true if there were any. */
bool source_ranges_remove_others(struct source_ranges *ranges, struct port_record *port,
				 const struct planned_port *planned);

/* Adopts a range of an earlier run. Returns 0, -ENOMEM, or -EINVAL: it cannot be used. */
int source_ranges_adopt(struct source_ranges *ranges, struct port_record *port,
			const struct source_range *key);

/* Sorts the port's ranges; to be called when all are adopted. */
void source_ranges_sort(struct port_record *port);
