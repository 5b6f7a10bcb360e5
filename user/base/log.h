/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Log lines on standard error: one line per state change, as text with klog's header, `I1121
 * 10:00:00.000000 12345 fairlead] message`, or as JSON, one object per line. What repeats is folded
 * (log_fold.h): logged at once, then counted.
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

/* Lines above `level` are suppressed. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* The default is LOG_FORMAT_TEXT. */
void log_set_format(enum log_format format);

/*
 * From now on repeated messages are counted, but for details (LOG_DEBUG). The caller must call
 * log_repeats_flush_due when log_repeats_wait_ms says so, and log_repeats_flush at the end: the log
 * has no timer of its own.
 */
void log_fold_repeats(void);

/*
 * In between, every message is logged: for what ends by itself, and of which each line is to
 * be read, such as the mistakes that --strict refuses.
 */
void log_fold_pause(void);
void log_fold_resume(void);

/* Milliseconds until the next count is due; 0: nothing is counted. */
uint64_t log_repeats_wait_ms(void);

/* Logs the counts that are due. */
void log_repeats_flush_due(void);

/* Logs all counts. */
void log_repeats_flush(void);

/* Where in the source a message is logged, which is its kind for the fold. */
#define LOG_TEXT_OF(value) #value
#define LOG_LINE_OF(line)  LOG_TEXT_OF(line)
#define LOG_SITE           (__FILE__ ":" LOG_LINE_OF(__LINE__))

void log_write_at(const char *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_write(level, ...) log_write_at(LOG_SITE, level, __VA_ARGS__)
#define log_debug(...)        log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)         log_write(LOG_INFO, __VA_ARGS__)
#define log_warning(...)      log_write(LOG_WARNING, __VA_ARGS__)
#define log_error(...)        log_write(LOG_ERROR, __VA_ARGS__)

/*
 * Logs an error followed by the text of `err`, a negative errno, and returns `err`, so that
 * `return log_err(err, "cannot ...")` does both.
 */
#define log_err(err, ...) log_err_at(LOG_SITE, err, __VA_ARGS__)

int log_err_at(const char *site, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
