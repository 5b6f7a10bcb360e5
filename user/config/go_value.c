/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/go_value.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"

/* A name before any shorter one that is its prefix: "ms" before "m". */
static const struct {
	const char *name;
	double ns;
} units[] = {
	{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
	{"ms", 1e6}, {"s", 1e9},  {"m", 60 * 1e9},    {"h", 3600 * 1e9},
};

/* Parses one number with its unit; returns the rest of the text, or NULL. */
static const char *part_parse(const char *text, double *sum)
{
	size_t whole = strspn(text, DIGITS);
	size_t fraction = text[whole] == '.' ? 1 + strspn(text + whole + 1, DIGITS) : 0;
	const char *unit = text + whole + fraction;

	if (whole + fraction == 0 || (!whole && fraction == 1))
		return NULL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t length = strlen(units[i].name);

		if (strncmp(unit, units[i].name, length) != 0)
			continue;
		*sum += strtod(text, NULL) * units[i].ns;
		return unit + length;
	}
	return NULL;
}

int go_duration_parse(const char *text, int64_t *ret_ns)
{
	const bool is_negative = *text == '-';
	double sum = 0;

	text += *text == '-' || *text == '+';
	if (!strcmp(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	do {
		text = part_parse(text, &sum);
	} while (text && *text);
	if (!text || sum >= (double)INT64_MAX)
		return -EINVAL;
	*ret_ns = is_negative ? -(int64_t)sum : (int64_t)sum;
	return 0;
}

int go_bool_parse(const char *text, bool *ret_value)
{
	static const char *const trues[] = {"1", "t", "T", "true", "True", "TRUE"};
	static const char *const falses[] = {"0", "f", "F", "false", "False", "FALSE"};

	for (size_t i = 0; i < sizeof(trues) / sizeof(trues[0]); i++) {
		*ret_value = !strcmp(text, trues[i]);
		if (*ret_value || !strcmp(text, falses[i]))
			return 0;
	}
	return -EINVAL;
}

int go_number_parse(const char *text, int64_t *ret_value)
{
	char *end;

	errno = 0;
	*ret_value = strtoll(text, &end, 10);
	return errno || end == text || *end || isspace((unsigned char)*text) ? -EINVAL : 0;
}
