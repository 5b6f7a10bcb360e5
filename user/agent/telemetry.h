/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the agent counts and what probes ask about it: metrics, health and readiness. Code that sees
 * an event counts it in the member concerned; an event that concerns several members has a function
 * here. http_pages.h serves all of it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/triggers.h"
#include "config/options.h"
#include "fairlead/agent.h"
#include "health/health.h"
#include "metrics/kube_proxy_metrics.h"
#include "model/model.h"

struct plane;

struct telemetry {
	struct metrics *metrics; /* has the families of the next two */
	struct kube_proxy_metrics *kube_proxy;
	struct fairlead_metrics *fairlead;
	struct sli_metrics *slis;
	struct health *health;
	struct health_ready_facts ready;
	struct triggers triggers;
	struct change_counts service_changes, endpoint_changes;
	unsigned int other_proxy_kinds; /* what other_proxy_find found last */
	uint64_t other_proxy_asked_ns;  /* when; 0: never */
	uint64_t incomplete_ns;         /* since when something waits to be published; 0: nothing */
	/* Borrowed; the plane is NULL while there is none. */
	const struct agent_options *options;
	const struct agent_status *status;
	struct model *model;
	const struct plane *plane;
};

/*
 * Starts counting. `options`, `status` and `model` are borrowed, and `telemetry` must not move.
 * Logs. Returns 0 or a negative errno; telemetry_close in either case.
 */
int telemetry_open(struct telemetry *telemetry, uv_loop_t *loop,
		   const struct agent_options *options, const struct agent_status *status,
		   struct model *model);

/* Call it before the model, the plane and the loop are closed. A telemetry of zeros is fine. */
void telemetry_close(struct telemetry *telemetry);

/*
 * The source has become reachable (`why` is NULL) or unreachable, for the reason that `why` gives.
 */
void telemetry_source_reachable(struct telemetry *telemetry, const char *why);

/* The number of socket hooks that are attached, and that should be attached but are not. */
void telemetry_socket_hooks(struct telemetry *telemetry, unsigned int attached,
			    unsigned int missing);

/* The socket hooks of the plane are attached, or there are to be none. */
void telemetry_hooked(struct telemetry *telemetry);

/* Changes have arrived and are about to be published. */
void telemetry_publish_begins(struct telemetry *telemetry);

enum publish_result {
	PUBLISH_COMPLETE, /* nothing waits to be published any more */
	PUBLISH_PARTIAL,  /* some Services wait, others are published */
	PUBLISH_FAILED,   /* there is no Service that does not wait */
};

/*
 * A publish has ended, for the wake-up at `woken_ns` (uv_hrtime). `is_full`: it was to cover every
 * Service. What fails for some Services makes the agent not ready (/readyz); it is alive (/livez):
 * it goes on with all others, and would fail for the same ones after a restart.
 */
void telemetry_published(struct telemetry *telemetry, uint64_t woken_ns, bool is_full,
			 enum publish_result result);

/* Counts the changes that have arrived so far. */
void telemetry_count_changes(struct telemetry *telemetry);

/* Fills in the checks of /readyz and returns their number. */
size_t telemetry_ready_checks(struct telemetry *telemetry,
			      struct health_check ret_checks[HEALTH_CHECKS_MAX]);
