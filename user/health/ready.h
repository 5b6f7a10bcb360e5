/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The checks of /readyz: whether Services work on this node as the source specifies. */

#include <stdbool.h>
#include <stdint.h>

#include "config/options.h"
#include "fairlead/agent.h"
#include "health/health.h"

struct ready_facts {
	bool is_source_complete, is_hooked;
	char unreachable[HEALTH_WHY_SIZE]; /* why the source cannot be reached; "": it can */
	uint64_t pending_ns;               /* age of the oldest pending change; 0: none */
};

/* Fills in the checks and returns their number. */
size_t ready_checks(const struct ready_facts *facts, const struct agent_options *options,
		    const struct agent_status *status,
		    struct health_check ret_checks[HEALTH_CHECKS_MAX]);
