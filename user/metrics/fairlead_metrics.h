/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Our own metrics, fairlead_*: publishes are counted when they happen, everything that lies in maps
 * is read when it is scraped. LRU maps are never walked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fairlead/agent.h"
#include "metrics/kube_proxy_metrics.h"
#include "metrics/metrics.h"
#include "publish/publish.h"

/* What is asked of the agent at each scrape. */
struct fairlead_metrics_source {
	const struct agent_status *status; /* borrowed */
	/* The descriptor of a map of the datapath, or -1: there is none yet. Borrowed. */
	int (*map)(const char *name, void *context);
	/* False where nothing is published yet. */
	bool (*numbers)(struct publisher_numbers *ret_numbers, void *context);
	void *context;
	bool with_services; /* a series for each service port */
};

struct fairlead_metrics;

/*
 * Adds the families to `metrics`, which outlives them. Of what is read anyway, `kube_proxy` is told
 * its share. NULL: memory is short.
 */
struct fairlead_metrics *fairlead_metrics_new(uv_loop_t *loop, struct metrics *metrics,
					      struct kube_proxy_metrics *kube_proxy,
					      const struct fairlead_metrics_source *source);

/* To be called before the metrics are freed, and before the loop ends. NULL is fine. */
void fairlead_metrics_free(struct fairlead_metrics *fairlead);

/* A publish has ended, well or not. */
void fairlead_metrics_published(struct fairlead_metrics *fairlead, bool is_well, double seconds);

/* How many socket hooks are attached, and how many should be and are not. */
void fairlead_metrics_socket_hooks(struct fairlead_metrics *fairlead, unsigned int attached,
				   unsigned int missing);

/* Somebody has removed or replaced hooks: "tc", "socket". */
void fairlead_metrics_hooks_lost(struct fairlead_metrics *fairlead, const char *hook,
				 unsigned int count);

/* An Event about the Node was "posted", "failed" or "folded" into another. */
void fairlead_metrics_event(struct fairlead_metrics *fairlead, const char *result);

/* Whether the source can be reached now. */
void fairlead_metrics_source_reachable(struct fairlead_metrics *fairlead, bool is_reachable);
