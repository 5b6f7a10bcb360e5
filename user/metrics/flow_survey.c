/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/flow_survey.h"

#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/map.h"

#define STEP_INTERVAL_MS 2

struct flow_survey {
	uv_timer_t timer;
	struct map_walk walk;
	struct flow_counts counting, counted;
	uint64_t begun_ns; /* start of the last walk; 0: none */
	bool is_walking, is_counted;
};

struct flow_survey *flow_survey_new(uv_loop_t *loop)
{
	struct flow_survey *survey = calloc(1, sizeof(*survey));

	if (!survey)
		return NULL;
	(void)uv_timer_init(loop, &survey->timer);
	survey->timer.data = survey;
	return survey;
}

static void flow_survey_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void flow_survey_close(struct flow_survey *survey)
{
	if (!survey)
		return;
	if (survey->is_walking)
		map_walk_fini(&survey->walk);
	uv_close((uv_handle_t *)&survey->timer, flow_survey_on_closed);
}

static void flow_count(const void *key, const void *value, void *context)
{
	struct flow_counts *counts = context;
	struct flow_key flow_key;
	struct flow flow;

	memcpy(&flow_key, key, sizeof(flow_key));
	memcpy(&flow, value, sizeof(flow));
	counts->entries++;
	if (flow_key.direction == FLOW_ORIGINAL && flow.state <= FLOW_CLOSED)
		counts->flows[flow.state][!address_is_ipv4(&flow_key.dst)]++;
}

static void flow_survey_step(uv_timer_t *timer)
{
	struct flow_survey *survey = timer->data;
	int more = map_step(&survey->walk, flow_count, &survey->counting);

	if (more > 0) {
		(void)uv_timer_start(timer, flow_survey_step, STEP_INTERVAL_MS, 0);
		return;
	}
	/* After a failed walk the last counts stay. */
	if (!more) {
		survey->counted = survey->counting;
		survey->is_counted = true;
	}
	map_walk_fini(&survey->walk);
	survey->is_walking = false;
}

const struct flow_counts *flow_survey_ask(struct flow_survey *survey, int flows_map)
{
	uint64_t now_ns = uv_hrtime();
	bool is_due = !survey->begun_ns || now_ns - survey->begun_ns >= FLOW_SURVEY_INTERVAL_NS;

	if (!survey->is_walking && is_due) {
		survey->begun_ns = now_ns;
		survey->counting = (struct flow_counts){};
		if (map_walk_init(&survey->walk, flows_map)) {
			map_walk_fini(&survey->walk);
		} else {
			survey->is_walking = true;
			flow_survey_step(&survey->timer);
		}
	}
	return survey->is_counted ? &survey->counted : NULL;
}
