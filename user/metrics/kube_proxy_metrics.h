/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The metrics that kube-proxy has, with its names, labels and buckets, so that dashboards and
 * alerts made for it go on working.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "metrics/metrics.h"

struct kube_proxy_metrics;

/* Adds the families to `metrics`, which outlives them. NULL: memory is short. */
struct kube_proxy_metrics *kube_proxy_metrics_new(struct metrics *metrics);
void kube_proxy_metrics_free(struct kube_proxy_metrics *metrics);

/* A change has come that a family's frontends must follow. */
void kube_proxy_metrics_queued(struct kube_proxy_metrics *metrics, enum ip_family family);

/* A publish has ended well; `is_full`: it looked at every Service. */
void kube_proxy_metrics_synced(struct kube_proxy_metrics *metrics, enum ip_family family,
			       bool is_full, double seconds);

/* A change of endpoints is programmed, so long after what triggered it. */
void kube_proxy_metrics_programmed(struct kube_proxy_metrics *metrics, enum ip_family family,
				   double seconds);

/* Service and endpoint changes that have come so far, and how many of them are published. */
struct change_counts {
	uint64_t come, published;
};
void kube_proxy_metrics_changes(struct kube_proxy_metrics *metrics,
				const struct change_counts *services,
				const struct change_counts *endpoints);

/* Service ports with policy Local that have endpoints, but none here. */
void kube_proxy_metrics_no_local(struct kube_proxy_metrics *metrics, enum ip_family family,
				 uint32_t internal, uint32_t external);

/* "healthz" or "livez" was answered with this status. */
void kube_proxy_metrics_probed(struct kube_proxy_metrics *metrics, const char *probe,
			       unsigned int status);

/*
 * The API server has answered a request, or has not. `method` is of HTTP ("GET"), `verb` of
 * Kubernetes ("list", "watch"), `host` "address:port"; `code` is the status, or 0 where there was no answer. `seconds`
 * is the time to the answer's headers.
 */
void kube_proxy_metrics_request(struct kube_proxy_metrics *metrics, const char *method,
				const char *verb, const char *host, unsigned int code,
				double seconds);
