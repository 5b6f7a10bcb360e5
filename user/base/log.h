/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Log lines to standard error: one line a state change, as text with klog's header,
 * `I1121 10:00:00.000000   12345 fairlead] message`, or as JSON, one object a line. A message that
 * comes again and again is folded (log_fold.h): it is told at once, then counted.
 */

#include <stdint.h>

enum log_level {
	LOG_ERROR = 0,
	LOG_WARNING = 1,
	LOG_INFO = 2,
	LOG_DEBUG = 3,
};

enum log_format {
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

/* Lines above `level` are not written. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* The default is LOG_FORMAT_TEXT. */
void log_set_format(enum log_format format);

/*
 * From here on messages that are repeated are counted. Whoever asks for it must call
 * log_repeats_tell when log_repeats_wait_ms says so, and log_repeats_tell_all at the end: a log has
 * no clock of its own.
 */
void log_fold_repeats(void);

/* Milliseconds until counted messages are to be told; 0: none was counted. */
uint64_t log_repeats_wait_ms(void);

/* Tells what was counted and whose time has come. */
void log_repeats_tell(void);

/* Tells all that was counted. */
void log_repeats_tell_all(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)

/*
 * Writes an error with the text of `err` (a negative errno; 0 leaves the text out) behind it, and
 * is `err`, so that `return log_err(err, "cannot ...")` says and returns it.
 */
int log_err(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
