/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/kube_proxy_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "words/words.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FAMILY_LABEL    .labels = {"ip_family"}

/* kube-proxy's buckets: 0.001 s, doubled fourteen times (M144). */
static const double sync_buckets[] = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128,
				      0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384};

/* kube-proxy's buckets of network_programming_duration_seconds (M145). */
static const double programming_buckets[] = {
	0,  0.25, 0.5, 1,   2,   3,   4,   5,   6,   7,   8,   9,   10, 11, 12, 13, 14,
	15, 16,   17,  18,  19,  20,  21,  22,  23,  24,  25,  26,  27, 28, 29, 30, 31,
	32, 33,   34,  35,  36,  37,  38,  39,  40,  41,  42,  43,  44, 45, 46, 47, 48,
	49, 50,   51,  52,  53,  54,  55,  56,  57,  58,  59,  60,  65, 70, 75, 80, 85,
	90, 95,   100, 105, 110, 115, 120, 150, 180, 210, 240, 270, 300};

static const double request_buckets[] = {0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60};

enum kube_proxy_metric {
	SYNC_DURATION,
	SYNC_FULL_DURATION,
	SYNC_PARTIAL_DURATION,
	PROGRAMMING_DURATION,
	LAST_SYNC,
	LAST_QUEUED,
	ENDPOINT_CHANGES_PENDING,
	ENDPOINT_CHANGES_TOTAL,
	SERVICE_CHANGES_PENDING,
	SERVICE_CHANGES_TOTAL,
	NO_LOCAL_ENDPOINTS,
	HEALTHZ_TOTAL,
	LIVEZ_TOTAL,
	REQUESTS_TOTAL,
	REQUEST_DURATION,
	BUILD_INFO,
	METRIC_COUNT
};

#define BUCKETS(array) .buckets = (array), .bucket_count = COUNT_OF(array)
#define SYNC_PREFIX    "kubeproxy_sync_proxy_rules_"

static const struct metric_spec specs[METRIC_COUNT] = {
	[SYNC_DURATION] = {SYNC_PREFIX "duration_seconds", "How long a publish took.",
			   .type = METRIC_HISTOGRAM, FAMILY_LABEL, BUCKETS(sync_buckets)},
	[SYNC_FULL_DURATION] = {"kubeproxy_sync_full_proxy_rules_duration_seconds",
				"How long a publish of every Service took.",
				.type = METRIC_HISTOGRAM, FAMILY_LABEL, BUCKETS(sync_buckets)},
	[SYNC_PARTIAL_DURATION] = {"kubeproxy_sync_partial_proxy_rules_duration_seconds",
				   "How long a publish of changed Services took.",
				   .type = METRIC_HISTOGRAM, FAMILY_LABEL, BUCKETS(sync_buckets)},
	[PROGRAMMING_DURATION] = {"kubeproxy_network_programming_duration_seconds",
				  "Time from what triggered a change of endpoints until it was "
				  "programmed.",
				  .type = METRIC_HISTOGRAM, FAMILY_LABEL,
				  BUCKETS(programming_buckets)},
	[LAST_SYNC] = {SYNC_PREFIX "last_timestamp_seconds",
		       "When the last publish ended well, in seconds since 1970.",
		       .type = METRIC_GAUGE, FAMILY_LABEL},
	[LAST_QUEUED] = {SYNC_PREFIX "last_queued_timestamp_seconds",
			 "When the last change came, in seconds since 1970.", .type = METRIC_GAUGE,
			 FAMILY_LABEL},
	[ENDPOINT_CHANGES_PENDING] = {SYNC_PREFIX "endpoint_changes_pending",
				      "Changes of endpoints that are not published yet.",
				      .type = METRIC_GAUGE},
	[ENDPOINT_CHANGES_TOTAL] = {SYNC_PREFIX "endpoint_changes_total", "Changes of endpoints.",
				    .type = METRIC_COUNTER},
	[SERVICE_CHANGES_PENDING] = {SYNC_PREFIX "service_changes_pending",
				     "Changes of Services that are not published yet.",
				     .type = METRIC_GAUGE},
	[SERVICE_CHANGES_TOTAL] = {SYNC_PREFIX "service_changes_total", "Changes of Services.",
				   .type = METRIC_COUNTER},
	/* A gauge with the name of a counter: the name is kube-proxy's. */
	[NO_LOCAL_ENDPOINTS] = {SYNC_PREFIX "no_local_endpoints_total",
				"Service ports with traffic policy Local that have endpoints, but "
				"none on this node.",
				.type = METRIC_UNTYPED, .labels = {"ip_family", "traffic_policy"}},
	[HEALTHZ_TOTAL] = {"kubeproxy_proxy_healthz_total", "Answers of /healthz.",
			   .type = METRIC_COUNTER, .labels = {"code"}},
	[LIVEZ_TOTAL] = {"kubeproxy_proxy_livez_total", "Answers of /livez.",
			 .type = METRIC_COUNTER, .labels = {"code"}},
	[REQUESTS_TOTAL] = {"rest_client_requests_total", "Requests to the API server.",
			    .type = METRIC_COUNTER, .labels = {"code", "method", "host"}},
	[REQUEST_DURATION] = {"rest_client_request_duration_seconds",
			      "How long the API server took to answer.", .type = METRIC_HISTOGRAM,
			      .labels = {"verb", "host"}, BUCKETS(request_buckets)},
	[BUILD_INFO] = {"kubernetes_build_info", "The program's version; always 1.",
			.type = METRIC_GAUGE, .labels = {"git_version", "compiler", "platform"}},
};

struct kube_proxy_metrics {
	struct metric *items[METRIC_COUNT];
	uint64_t service_changes, endpoint_changes; /* counted so far */
};

static const char *family_label(enum ip_family family)
{
	return family == FAMILY_IPV6 ? "IPv6" : "IPv4";
}

static double wall_clock(void)
{
	return (double)clock_realtime_ns() / (double)NS_PER_S;
}

static void build_info_set(struct metric *metric)
{
	struct utsname kernel;
	char platform[128];

	(void)uname(&kernel);
	(void)snprintf(platform, sizeof(platform), "linux/%s", go_architecture(kernel.machine));
	metric_set(metric, (const char *const[]){"v" FAIRLEAD_VERSION, COMPILER, platform}, 1);
}

/* Creates the series with the value 0, so that they exist before the first event. */
static void kube_proxy_metrics_set_zeros(struct kube_proxy_metrics *metrics)
{
	static const enum ip_family families[] = {FAMILY_IPV4, FAMILY_IPV6};

	for (size_t i = 0; i < COUNT_OF(families); i++) {
		const char *const labels[] = {family_label(families[i])};

		metric_set(metrics->items[LAST_SYNC], labels, 0);
		metric_set(metrics->items[LAST_QUEUED], labels, 0);
		kube_proxy_metrics_no_local(metrics, families[i], 0, 0);
	}
	metric_add(metrics->items[HEALTHZ_TOTAL], (const char *const[]){"200"}, 0);
	metric_add(metrics->items[HEALTHZ_TOTAL], (const char *const[]){"503"}, 0);
	metric_add(metrics->items[LIVEZ_TOTAL], (const char *const[]){"200"}, 0);
	metric_add(metrics->items[LIVEZ_TOTAL], (const char *const[]){"503"}, 0);
}

struct kube_proxy_metrics *kube_proxy_metrics_new(struct metrics *metrics)
{
	auto_cleanup(cleanup_free) struct kube_proxy_metrics *made = calloc(1, sizeof(*made));

	if (!made)
		return NULL;
	for (int i = 0; i < METRIC_COUNT; i++) {
		made->items[i] = metrics_add(metrics, &specs[i]);
		if (!made->items[i])
			return NULL;
	}
	build_info_set(made->items[BUILD_INFO]);
	kube_proxy_metrics_set_zeros(made);
	return take_ptr(made);
}

void kube_proxy_metrics_free(struct kube_proxy_metrics *metrics)
{
	free(metrics);
}

void kube_proxy_metrics_queued(struct kube_proxy_metrics *metrics, enum ip_family family)
{
	metric_set(metrics->items[LAST_QUEUED], (const char *const[]){family_label(family)},
		   wall_clock());
}

void kube_proxy_metrics_synced(struct kube_proxy_metrics *metrics, enum ip_family family,
			       bool is_full, double seconds)
{
	const char *const labels[] = {family_label(family)};

	metric_observe(metrics->items[SYNC_DURATION], labels, seconds);
	metric_observe(metrics->items[is_full ? SYNC_FULL_DURATION : SYNC_PARTIAL_DURATION], labels,
		       seconds);
	metric_set(metrics->items[LAST_SYNC], labels, wall_clock());
}

void kube_proxy_metrics_programmed(struct kube_proxy_metrics *metrics, enum ip_family family,
				   double seconds)
{
	metric_observe(metrics->items[PROGRAMMING_DURATION],
		       (const char *const[]){family_label(family)}, seconds);
}

void kube_proxy_metrics_changes(struct kube_proxy_metrics *metrics,
				const struct change_counts *services,
				const struct change_counts *endpoints)
{
	metric_add(metrics->items[SERVICE_CHANGES_TOTAL], NULL,
		   (double)(services->come - metrics->service_changes));
	metric_add(metrics->items[ENDPOINT_CHANGES_TOTAL], NULL,
		   (double)(endpoints->come - metrics->endpoint_changes));
	metrics->service_changes = services->come;
	metrics->endpoint_changes = endpoints->come;
	metric_set(metrics->items[SERVICE_CHANGES_PENDING], NULL,
		   (double)(services->come - services->published));
	metric_set(metrics->items[ENDPOINT_CHANGES_PENDING], NULL,
		   (double)(endpoints->come - endpoints->published));
}

void kube_proxy_metrics_no_local(struct kube_proxy_metrics *metrics, enum ip_family family,
				 uint32_t internal, uint32_t external)
{
	metric_set(metrics->items[NO_LOCAL_ENDPOINTS],
		   (const char *const[]){family_label(family), "internal"}, internal);
	metric_set(metrics->items[NO_LOCAL_ENDPOINTS],
		   (const char *const[]){family_label(family), "external"}, external);
}

void kube_proxy_metrics_probed(struct kube_proxy_metrics *metrics, const char *probe,
			       unsigned int status)
{
	char code[16];

	(void)snprintf(code, sizeof(code), "%u", status);
	metric_add(metrics->items[!strcmp(probe, "livez") ? LIVEZ_TOTAL : HEALTHZ_TOTAL],
		   (const char *const[]){code}, 1);
}

void kube_proxy_metrics_request(struct kube_proxy_metrics *metrics, const char *method,
				const char *verb, const char *host, unsigned int code,
				double seconds)
{
	char text[16] = "<error>";

	if (code)
		(void)snprintf(text, sizeof(text), "%u", code);
	metric_add(metrics->items[REQUESTS_TOTAL], (const char *const[]){text, method, host}, 1);
	/* As in client-go: watches are not timed, and the label "verb" has the HTTP method. */
	if (strcmp(verb, "watch") != 0)
		metric_observe(metrics->items[REQUEST_DURATION],
			       (const char *const[]){method, host}, seconds);
}
