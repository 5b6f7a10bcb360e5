/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Counts flows by state. The table can be large, so it is walked in batches between other events of
 * the loop, at most every FLOW_SURVEY_INTERVAL_NS, and only when a scrape asks for it.
 */

#include <stdint.h>
#include <uv.h>

#include "fairlead/types.h"

#define FLOW_SURVEY_INTERVAL_NS 30000000000ULL

struct flow_counts {
	uint64_t entries;                   /* one per direction of a flow */
	uint64_t flows[FLOW_CLOSED + 1][2]; /* by enum flow_state, and whether it is IPv6 */
};

struct flow_survey;

/* NULL: memory is short. */
struct flow_survey *flow_survey_new(uv_loop_t *loop);

/* The loop's next turn frees it. NULL is fine. */
void flow_survey_close(struct flow_survey *survey);

/*
 * Returns the counts of the last complete walk, borrowed, or NULL if there is none yet. Starts
 * another walk if the last one is too old; a table that fits into one batch is complete at once.
 * `flows_map` is a descriptor that may be closed afterwards. Silent.
 */
const struct flow_counts *flow_survey_ask(struct flow_survey *survey, int flows_map);
