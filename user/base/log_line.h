/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Formats a log line. */

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "base/log.h"

/* Size of a message with its NUL; longer ones are cut. */
#define LOG_MESSAGE_SIZE 2048
/* Fits a message whose characters all need six bytes, plus the rest of the line. */
#define LOG_LINE_SIZE (6 * LOG_MESSAGE_SIZE + 256)

/*
 * Writes a line, with newline and NUL, into `buf` and returns its length. Text has the local time;
 * characters that would start a new line or control a terminal become spaces. JSON has "ts"
 * (milliseconds since 1970), "level", "v" (klog's verbosity, absent for errors), "msg" and "count",
 * the messages that the line stands for, if they are more than one; bytes that are not UTF-8 become
 * U+FFFD.
 */
size_t log_line_text(enum log_level level, const struct timespec *now, pid_t pid,
		     const char *message, char buf[LOG_LINE_SIZE]);
size_t log_line_json(enum log_level level, const struct timespec *now, const char *message,
		     unsigned int count, char buf[LOG_LINE_SIZE]);
