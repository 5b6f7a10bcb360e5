/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Log lines to standard error: one line a state change, as `I1121 10:00:00.000000 message`. */

enum log_level {
	LOG_ERROR = 0,
	LOG_WARNING = 1,
	LOG_INFO = 2,
	LOG_DEBUG = 3,
};

/* Lines above `level` are not written. The default is LOG_INFO. */
void log_set_level(enum log_level level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)

/*
 * Writes an error with the text of `err` (a negative errno; 0 leaves the text out) behind it, and
 * is `err`, so that `return log_err(err, "cannot ...")` says and returns it.
 */
int log_err(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
