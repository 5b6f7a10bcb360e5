/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Values in the spelling of Go's flags and configuration files. */

#include <stdbool.h>
#include <stdint.h>

/*
 * Reads a duration such as "1h30m", "1.5s" or "0". `ret_ns` gets nanoseconds; below zero is fine.
 * Returns 0 or -EINVAL. Silent.
 */
int go_duration_parse(const char *text, int64_t *ret_ns);

/* Reads a truth: 1, t, T, true, True, TRUE and their opposites. Returns 0 or -EINVAL. Silent. */
int go_bool_parse(const char *text, bool *ret_value);

/* Reads a whole number, with a sign or not. Returns 0 or -EINVAL. Silent. */
int go_number_parse(const char *text, int64_t *ret_value);
