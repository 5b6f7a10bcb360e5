/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Prometheus' text format, version 0.0.4, written into memory. A family is its HELP and TYPE lines,
 * followed by its samples.
 */

#include <stddef.h>
#include <stdio.h>

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM,
	METRIC_UNTYPED, /* for a name that suggests another type than its own */
};

struct metric_label {
	const char *name;
	const char *value; /* any text; escaped when written */
};

/* Writes the HELP and TYPE lines. */
void exposition_family(FILE *out, const char *name, enum metric_type type, const char *help);

/* Writes a sample: the name with `suffix` ("" or "_count"), labels and value. */
void exposition_sample(FILE *out, const char *name, const char *suffix,
		       const struct metric_label *labels, size_t label_count, double value);

/* Writes the shortest text that reads back as the same number. */
const char *exposition_number(double value, char buf[32]);

/* Writes a family of one sample without labels. */
static inline void exposition_single(FILE *out, const char *name, enum metric_type type,
				     const char *help, double value)
{
	exposition_family(out, name, type, help);
	exposition_sample(out, name, "", NULL, 0, value);
}
