/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/exposition.h"

#include <math.h>
#include <stdlib.h>

void exposition_family(FILE *out, const char *name, enum metric_type type, const char *help)
{
	static const char *const words[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
		[METRIC_UNTYPED] = "untyped",
	};

	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, words[type]);
}

static void value_write(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			(void)fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			(void)fprintf(out, "\\%c", *value);
		else
			(void)fputc(*value, out);
	}
}

void exposition_sample(FILE *out, const char *name, const char *suffix,
		       const struct metric_label *labels, size_t label_count, double value)
{
	char number[32];

	(void)fprintf(out, "%s%s", name, suffix);
	for (size_t i = 0; i < label_count; i++) {
		(void)fprintf(out, "%c%s=\"", i ? ',' : '{', labels[i].name);
		value_write(out, labels[i].value);
		(void)fputc('"', out);
	}
	(void)fprintf(out, "%s %s\n", label_count ? "}" : "", exposition_number(value, number));
}

const char *exposition_number(double value, char buf[32])
{
	if (isinf(value))
		return value > 0 ? "+Inf" : "-Inf";
	/* 15 digits never show rounding noise, 17 always read back as the same number. */
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(buf, 32, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	return buf;
}
