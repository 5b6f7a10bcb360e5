/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_fold.h"
#include "base/log_line.h"
#include "base/log_output.h"

#define EMPTY_MESSAGE "(an empty message)"

static void line_write(enum log_level level, const char *message, unsigned int count,
		       void *context);
static void lost_lines_write(void);

static enum log_level max_level = LOG_INFO;
static enum log_format line_format = LOG_FORMAT_TEXT;
static bool is_folding;
static bool is_fold_paused;
static struct log_fold repeats = {.write = line_write};
static uint64_t lost_lines; /* since the last that was written */

void log_set_level(enum log_level level)
{
	max_level = level;
}

void log_set_format(enum log_format format)
{
	line_format = format;
}

void log_fold_repeats(void)
{
	is_folding = true;
}

void log_fold_pause(void)
{
	log_repeats_flush();
	is_fold_paused = true;
}

void log_fold_resume(void)
{
	is_fold_paused = false;
}

uint64_t log_repeats_wait_ms(void)
{
	return is_folding ? log_fold_wait_ms(&repeats, clock_now_ns() / NS_PER_MS) : 0;
}

void log_repeats_flush_due(void)
{
	log_fold_flush_due(&repeats, clock_now_ns() / NS_PER_MS);
}

void log_repeats_flush(void)
{
	log_fold_flush(&repeats, clock_now_ns() / NS_PER_MS);
	lost_lines_write();
}

static bool line_output(enum log_level level, const char *message, unsigned int count)
{
	/* What follows a line that was cut ends it first, so as not to be lost with it. */
	char text[1 + LOG_LINE_SIZE] = "\n", *line = text + 1;
	struct timespec now;
	size_t length;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (line_format == LOG_FORMAT_JSON)
		length = log_line_json(level, &now, message, count, line);
	else
		length = log_line_text(level, &now, getpid(), message, line);
	return log_output_is_cut() ? log_output_write(text, 1 + length)
				   : log_output_write(line, length);
}

/* Says how many lines are missing, as soon as somebody reads again. */
static void lost_lines_write(void)
{
	char message[96];

	if (!lost_lines)
		return;
	(void)snprintf(message, sizeof(message),
		       "%llu %s lost from this log: nobody read it, and it was full",
		       (unsigned long long)lost_lines, lost_lines == 1 ? "line was" : "lines were");
	if (line_output(LOG_WARNING, message, 1))
		lost_lines = 0;
}

static void line_write(enum log_level level, const char *message, unsigned int count, void *context)
{
	(void)context;
	lost_lines_write();
	if (lost_lines || !line_output(level, message, count))
		lost_lines++;
}

static void message_write(const char *site, enum log_level level, int err, const char *format,
			  va_list args) __attribute__((format(printf, 4, 0)));

static void message_write(const char *site, enum log_level level, int err, const char *format,
			  va_list args)
{
	char message[LOG_MESSAGE_SIZE];
	size_t length;

	if (vsnprintf(message, sizeof(message), format, args) <= 0)
		(void)snprintf(message, sizeof(message), EMPTY_MESSAGE);
	length = strlen(message);
	if (err)
		(void)snprintf(message + length, sizeof(message) - length, ": %s", strerror(-err));
	/* Who asks for details wants each of them. */
	if (is_folding && !is_fold_paused && level != LOG_DEBUG)
		log_fold_log(&repeats, site, level, message, clock_now_ns() / NS_PER_MS);
	else
		line_write(level, message, 1, NULL);
}

void log_write_at(const char *site, enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > max_level)
		return;
	va_start(args, format);
	message_write(site, level, 0, format, args);
	va_end(args);
}

int log_err_at(const char *site, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message_write(site, LOG_ERROR, err, format, args);
	va_end(args);
	return err;
}
