/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Standard error as the output of the log, on which nothing waits for a reader. */

#include <stdbool.h>
#include <stddef.h>

/*
 * From now on a write waits for no reader of a pipe or a terminal. Without this call, and where
 * the output cannot be opened a second time, because /proc is not mounted or the terminal is
 * another user's, a write into a terminal may wait.
 */
void log_output_open(void);

/*
 * One write() per line of usual length, so that lines of several processes do not interleave.
 * Returns false if the line, or its end, is lost for the lack of a reader.
 */
bool log_output_write(const char *line, size_t length);

/* The last thing written is the beginning of a line whose end is lost. */
bool log_output_is_cut(void);
