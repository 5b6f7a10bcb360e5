/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* How a line of the log is written. */

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "base/log.h"

/* A message, ending included; what is longer is cut. */
#define LOG_MESSAGE_SIZE 2048
/* A message of which each character needs six, and what is around it. */
#define LOG_LINE_SIZE (6 * LOG_MESSAGE_SIZE + 256)

/*
 * Writes a line, newline and NUL included, into `buf` and is its length. Text has the local time;
 * characters that would begin a new line or drive a terminal become spaces. JSON has "ts"
 * (milliseconds since 1970), "level", "v" (klog's verbosity, not of errors) and "msg"; bytes that
 * are no UTF-8 become U+FFFD.
 */
size_t log_line_text(enum log_level level, const struct timespec *now, pid_t pid,
		     const char *message, char buf[LOG_LINE_SIZE]);
size_t log_line_json(enum log_level level, const struct timespec *now, const char *message,
		     char buf[LOG_LINE_SIZE]);
