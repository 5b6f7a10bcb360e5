/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Metrics. Counters and the like are updated when something happens and written at each scrape;
 * collectors write metrics from state that exists anyway. Counting is cheap and cannot fail: if
 * memory is short for a new series, its value is lost.
 */

#include <stddef.h>
#include <stdio.h>

#include "metrics/exposition.h"

#define METRIC_LABELS_MAX 3

struct metric_spec {
	const char *name;
	const char *help;
	enum metric_type type;
	const char *labels[METRIC_LABELS_MAX]; /* label names; NULL ends them */
	const double *buckets;                 /* METRIC_HISTOGRAM: upper bounds, ascending */
	size_t bucket_count;                   /* not counting +Inf, which is always added */
};

struct metrics;
struct metric;

/* NULL: memory is short. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/*
 * Adds a family. `spec` is borrowed, and usually static. The metric belongs to `metrics`. A family
 * without labels has its one series from the start. NULL: memory is short; the functions below
 * accept that.
 */
struct metric *metrics_add(struct metrics *metrics, const struct metric_spec *spec);

/* Leaves these families out from now on. `names` is borrowed, a list with commas; NULL: none. */
void metrics_disable(struct metrics *metrics, const char *names);

/* Writes families to `out`. */
typedef void (*metrics_collect_fn)(FILE *out, void *context);

/*
 * Registers `fn` to be called at each scrape, before the other families are written. Returns 0 or
 * -ENOMEM.
 */
int metrics_add_collector(struct metrics *metrics, metrics_collect_fn fn, void *context);

/* `labels` are the label values, as many as the family has label names; NULL for none. */
void metric_add(struct metric *metric, const char *const *labels, double amount);
void metric_set(struct metric *metric, const char *const *labels, double value);
void metric_observe(struct metric *metric, const char *const *labels, double value);

/* The value of a counter or gauge, or the count of a histogram; 0 if the series does not exist. */
double metric_value(const struct metric *metric, const char *const *labels);

/*
 * Writes all families as text. The caller frees the text, which is NUL-terminated; `ret_size` does
 * not count the NUL. NULL: memory is short.
 */
char *metrics_write(const struct metrics *metrics, size_t *ret_size);
