/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Parses values as Go's flags and configuration files spell them. */

#include <stdbool.h>
#include <stdint.h>

/*
 * Reads a duration such as "1h30m", "1.5s" or "0" into `ret_ns`, in nanoseconds; it may be
 * negative. Returns 0 or -EINVAL. Silent.
 */
int go_duration_parse(const char *text, int64_t *ret_ns);

/* Reads a boolean: 1, t, T, true, True, TRUE and their opposites. Returns 0 or -EINVAL. Silent. */
int go_bool_parse(const char *text, bool *ret_value);

/* Reads an integer with or without a sign. Returns 0 or -EINVAL. Silent. */
int go_number_parse(const char *text, int64_t *ret_value);
