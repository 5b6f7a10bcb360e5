/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Our own metrics, fairlead_*. Publishes are counted when they happen; the contents of maps are
 * read at each scrape. LRU maps are never walked.
 */

#include <stdbool.h>
#include <uv.h>

#include "fairlead/agent.h"
#include "fairlead/maps.h"
#include "metrics/kube_proxy_metrics.h"
#include "metrics/metrics.h"
#include "publish/publisher.h"

/* The agent's state, read at each scrape. */
struct fairlead_metrics_source {
	const struct agent_status *status; /* borrowed */
	/* Returns the descriptor of a map of the datapath, borrowed; -1: not there yet. */
	int (*map)(enum map_id id, void *context);
	/* Returns false if nothing is published yet. */
	bool (*numbers)(struct publisher_numbers *ret_numbers, void *context);
	void *context;
	bool with_services; /* exports series per service port */
};

struct fairlead_metrics;

/*
 * Adds the families to `metrics`, which outlives them. At each scrape it also sets
 * kube_proxy_metrics_no_local() of `kube_proxy`. NULL: memory is short.
 */
struct fairlead_metrics *fairlead_metrics_new(uv_loop_t *loop, struct metrics *metrics,
					      struct kube_proxy_metrics *kube_proxy,
					      const struct fairlead_metrics_source *source);

/* Call it before freeing the metrics and before the loop ends. NULL is fine. */
void fairlead_metrics_free(struct fairlead_metrics *fairlead);

/* A publish has ended; `is_well`: successfully. */
void fairlead_metrics_published(struct fairlead_metrics *fairlead, bool is_well, double seconds);

/* The number of socket hooks that are attached, and that should be attached but are not. */
void fairlead_metrics_socket_hooks(struct fairlead_metrics *fairlead, unsigned int attached,
				   unsigned int missing);

/* Another program has removed or replaced hooks of a kind: "tc", "xdp", "socket". */
void fairlead_metrics_hooks_lost(struct fairlead_metrics *fairlead, const char *hook,
				 unsigned int count);

/* Counts an Event: "posted", "failed" or "folded" into another. */
void fairlead_metrics_event(struct fairlead_metrics *fairlead, const char *result);

/* Counts a warning about a manifest, by manifest_warning_word(). */
void fairlead_metrics_manifest_warning(struct fairlead_metrics *fairlead, const char *why);

/* Whether the source can be reached now. */
void fairlead_metrics_source_reachable(struct fairlead_metrics *fairlead, bool is_reachable);
