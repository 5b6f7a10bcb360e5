/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Metrics that are counted where something happens, and written when they are scraped. Others are
 * written by collectors, which read what is known anyway. Counting is cheap and cannot fail: where
 * memory is short for a new series, it is not counted.
 */

#include <stddef.h>
#include <stdio.h>

#include "metrics/exposition.h"

#define METRIC_LABELS_MAX 3

struct metric_spec {
	const char *name;
	const char *help;
	enum metric_type type;
	const char *labels[METRIC_LABELS_MAX]; /* names; NULL ends them */
	const double *buckets;                 /* METRIC_HISTOGRAM: upper bounds, ascending */
	size_t bucket_count;                   /* without +Inf, which is always there */
};

struct metrics;
struct metric;

/* NULL: memory is short. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/*
 * Adds a family; what `spec` points to is borrowed, and static as a rule. The metric belongs to
 * `metrics`. A family without labels has its one series from the start. NULL: memory is short; the
 * functions below accept that.
 */
struct metric *metrics_add(struct metrics *metrics, const struct metric_spec *spec);

/* Writes families into `out`. */
typedef void (*metrics_collect_fn)(FILE *out, void *context);

/* Has `fn` called at each scrape, before other families are written. Returns 0 or -ENOMEM. */
int metrics_add_collector(struct metrics *metrics, metrics_collect_fn fn, void *context);

/* `labels`: values, as many as the family has names. NULL for none. */
void metric_add(struct metric *metric, const char *const *labels, double amount);
void metric_set(struct metric *metric, const char *const *labels, double value);
void metric_observe(struct metric *metric, const char *const *labels, double value);

/* The value of a counter or gauge, or the count of a histogram; 0 where the series is not there. */
double metric_value(const struct metric *metric, const char *const *labels);

/*
 * All of it as text. Allocates it with its terminator; the caller frees. NULL: memory is short.
 */
char *metrics_write(const struct metrics *metrics, size_t *ret_size);
