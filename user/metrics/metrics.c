/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/uthash.h"

#define LABELS_SIZE 512 /* the key of a series: its label values, each with its NUL */

struct series {
	UT_hash_handle hh; /* by `key` */
	char *values[METRIC_LABELS_MAX];
	double value; /* of a histogram: the sum of observations */
	uint64_t count;
	size_t key_size;
	uint64_t *buckets; /* observations in each, the last is +Inf; same allocation */
	char *key;         /* same allocation */
};

struct metric {
	struct metric *next;
	const struct metric_spec *spec;
	size_t label_count;
	struct series *series;
};

struct collector {
	struct collector *next;
	metrics_collect_fn fn;
	void *context;
};

struct metrics {
	struct metric *first, **last;
	struct collector *first_collector, **last_collector;
	const char *disabled; /* names with commas between them; NULL: none */
};

struct metrics *metrics_new(void)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (!metrics)
		return NULL;
	metrics->last = &metrics->first;
	metrics->last_collector = &metrics->first_collector;
	return metrics;
}

static void metric_free(struct metric *metric)
{
	struct series *series, *next;

	HASH_ITER (hh, metric->series, series, next) {
		HASH_DEL(metric->series, series);
		free(series);
	}
	free(metric);
}

void metrics_free(struct metrics *metrics)
{
	struct collector *collector, *next_collector;
	struct metric *metric, *next;

	if (!metrics)
		return;
	for (metric = metrics->first; metric; metric = next) {
		next = metric->next;
		metric_free(metric);
	}
	for (collector = metrics->first_collector; collector; collector = next_collector) {
		next_collector = collector->next;
		free(collector);
	}
	free(metrics);
}

/* Writes the key of these label values. Returns its size, or 0 if they do not fit. */
static size_t key_make(const struct metric *metric, const char *const *labels,
		       char key[LABELS_SIZE])
{
	size_t size = 0;

	for (size_t i = 0; i < metric->label_count; i++) {
		size_t length = strlen(labels[i]) + 1;

		if (size + length > LABELS_SIZE)
			return 0;
		memcpy(key + size, labels[i], length);
		size += length;
	}
	if (!size)
		key[size++] = '\0';
	return size;
}

static struct series *series_new(const struct metric *metric, const char *key, size_t key_size)
{
	const struct metric_spec *spec = metric->spec;
	size_t bucket_count = spec->type == METRIC_HISTOGRAM ? spec->bucket_count + 1 : 0;
	struct series *series =
		calloc(1, sizeof(*series) + bucket_count * sizeof(*series->buckets) + key_size);
	char *value;

	if (!series)
		return NULL;
	series->buckets = (uint64_t *)(series + 1);
	series->key = (char *)(series->buckets + bucket_count);
	series->key_size = key_size;
	memcpy(series->key, key, key_size);
	value = series->key;
	for (size_t i = 0; i < metric->label_count; i++) {
		series->values[i] = value;
		value += strlen(value) + 1;
	}
	return series;
}

static struct series *series_find(const struct metric *metric, const char *const *labels)
{
	char key[LABELS_SIZE];
	size_t size = key_make(metric, labels, key);
	struct series *series = NULL;

	if (size)
		HASH_FIND(hh, metric->series, key, size, series);
	return series;
}

static struct series *series_get(struct metric *metric, const char *const *labels)
{
	struct series *series = series_find(metric, labels);
	char key[LABELS_SIZE];
	bool no_memory = false;
	size_t size;

	if (series)
		return series;
	size = key_make(metric, labels, key);
	series = size ? series_new(metric, key, size) : NULL;
	if (!series)
		return NULL;
	HASH_ADD_KEYPTR(hh, metric->series, series->key, series->key_size, series);
	if (!no_memory)
		return series;
	free(series);
	return NULL;
}

struct metric *metrics_add(struct metrics *metrics, const struct metric_spec *spec)
{
	struct metric *metric = calloc(1, sizeof(*metric));

	if (!metric)
		return NULL;
	metric->spec = spec;
	while (metric->label_count < METRIC_LABELS_MAX && spec->labels[metric->label_count])
		metric->label_count++;
	if (!metric->label_count && !series_get(metric, NULL)) {
		free(metric);
		return NULL;
	}
	*metrics->last = metric;
	metrics->last = &metric->next;
	return metric;
}

int metrics_add_collector(struct metrics *metrics, metrics_collect_fn fn, void *context)
{
	struct collector *collector = calloc(1, sizeof(*collector));

	if (!collector)
		return -ENOMEM;
	collector->fn = fn;
	collector->context = context;
	*metrics->last_collector = collector;
	metrics->last_collector = &collector->next;
	return 0;
}

void metric_add(struct metric *metric, const char *const *labels, double amount)
{
	struct series *series = metric ? series_get(metric, labels) : NULL;

	if (series)
		series->value += amount;
}

void metric_set(struct metric *metric, const char *const *labels, double value)
{
	struct series *series = metric ? series_get(metric, labels) : NULL;

	if (series)
		series->value = value;
}

void metric_observe(struct metric *metric, const char *const *labels, double value)
{
	struct series *series = metric ? series_get(metric, labels) : NULL;
	size_t bucket = 0;

	if (!series)
		return;
	while (bucket < metric->spec->bucket_count && value > metric->spec->buckets[bucket])
		bucket++;
	series->buckets[bucket]++;
	series->count++;
	series->value += value;
}

double metric_value(const struct metric *metric, const char *const *labels)
{
	const struct series *series = metric ? series_find(metric, labels) : NULL;

	if (!series)
		return 0;
	return metric->spec->type == METRIC_HISTOGRAM ? (double)series->count : series->value;
}

static void histogram_write(const struct metric *metric, const struct series *series,
			    struct metric_label *labels, FILE *out)
{
	const struct metric_spec *spec = metric->spec;
	uint64_t below = 0;
	char bound[32];

	labels[metric->label_count].name = "le";
	for (size_t i = 0; i <= spec->bucket_count; i++) {
		below += series->buckets[i];
		labels[metric->label_count].value = exposition_number(
			i < spec->bucket_count ? spec->buckets[i] : INFINITY, bound);
		exposition_sample(out, spec->name, "_bucket", labels, metric->label_count + 1,
				  (double)below);
	}
	exposition_sample(out, spec->name, "_sum", labels, metric->label_count, series->value);
	exposition_sample(out, spec->name, "_count", labels, metric->label_count,
			  (double)series->count);
}

static void metric_write(const struct metric *metric, FILE *out)
{
	const struct metric_spec *spec = metric->spec;
	struct metric_label labels[METRIC_LABELS_MAX + 1] = {};

	exposition_family(out, spec->name, spec->type, spec->help);
	for (const struct series *series = metric->series; series; series = series->hh.next) {
		for (size_t i = 0; i < metric->label_count; i++)
			labels[i] = (struct metric_label){spec->labels[i], series->values[i]};
		if (spec->type == METRIC_HISTOGRAM)
			histogram_write(metric, series, labels, out);
		else
			exposition_sample(out, spec->name, "", labels, metric->label_count,
					  series->value);
	}
}

void metrics_disable(struct metrics *metrics, const char *names)
{
	metrics->disabled = names;
}

static bool is_listed(const char *names, const char *name, size_t length)
{
	while (names && *names) {
		size_t size = strcspn(names, ",");

		if (size == length && !strncmp(names, name, length))
			return true;
		names += size + (names[size] == ',');
	}
	return false;
}

/* Removes the lines of disabled families; each family begins with its HELP line. */
static void disabled_remove(const struct metrics *metrics, char *text, size_t *size)
{
	static const char help[] = "# HELP ";
	char *kept = text;
	bool is_kept = true;

	for (const char *line = text, *next; *line; line = next) {
		const char *name = line + strlen(help);

		next = strchrnul(line, '\n');
		next += *next == '\n';
		if (!strncmp(line, help, strlen(help)))
			is_kept = !is_listed(metrics->disabled, name, strcspn(name, " "));
		if (!is_kept)
			continue;
		memmove(kept, line, (size_t)(next - line));
		kept += next - line;
	}
	*kept = '\0';
	*size = (size_t)(kept - text);
}

char *metrics_write(const struct metrics *metrics, size_t *ret_size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_size);
	bool failed;

	if (!out)
		return NULL;
	/* Collectors first: they may set metrics that are written next. */
	for (const struct collector *collector = metrics->first_collector; collector;
	     collector = collector->next)
		collector->fn(out, collector->context);
	for (const struct metric *metric = metrics->first; metric; metric = metric->next)
		metric_write(metric, out);
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	if (metrics->disabled)
		disabled_remove(metrics, text, ret_size);
	return text;
}
