/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * kube-proxy's metrics, with its names, labels and buckets, so that dashboards and alerts made for
 * it keep working.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "metrics/metrics.h"

struct kube_proxy_metrics;

/* Adds the families to `metrics`, which outlives them. NULL: memory is short. */
struct kube_proxy_metrics *kube_proxy_metrics_new(struct metrics *metrics);
void kube_proxy_metrics_free(struct kube_proxy_metrics *metrics);

/* A change has arrived that concerns the frontends of a family. */
void kube_proxy_metrics_queued(struct kube_proxy_metrics *metrics, enum ip_family family);

/* A publish has succeeded; `is_full`: it covered every Service. */
void kube_proxy_metrics_synced(struct kube_proxy_metrics *metrics, enum ip_family family,
			       bool is_full, double seconds);

/* A change of endpoints is programmed, `seconds` after its trigger. */
void kube_proxy_metrics_programmed(struct kube_proxy_metrics *metrics, enum ip_family family,
				   double seconds);

/* Counts of changes since the start: received, and published. */
struct change_counts {
	uint64_t come, published;
};
void kube_proxy_metrics_changes(struct kube_proxy_metrics *metrics,
				const struct change_counts *services,
				const struct change_counts *endpoints);

/* The number of service ports with policy Local that have endpoints, but none on this node. */
void kube_proxy_metrics_no_local(struct kube_proxy_metrics *metrics, enum ip_family family,
				 uint32_t internal, uint32_t external);

/* A probe, "healthz" or "livez", was answered with this status. */
void kube_proxy_metrics_probed(struct kube_proxy_metrics *metrics, const char *probe,
			       unsigned int status);

/*
 * A request to the API server has been answered or has failed. `method` is the HTTP method ("GET"),
 * `verb` the Kubernetes verb ("list", "watch"), `host` "address:port"; `code` is the status, or 0
 * without a response. `seconds` is the time until the response's headers.
 */
void kube_proxy_metrics_request(struct kube_proxy_metrics *metrics, const char *method,
				const char *verb, const char *host, unsigned int code,
				double seconds);
