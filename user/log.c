/* SPDX-License-Identifier: BSD-2-Clause */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum log_level max_level = LOG_INFO;

void log_set_level(enum log_level level)
{
	max_level = level;
}

/* klog's prefix, which the tools that read kube-proxy's log know. */
static size_t prefix_format(enum log_level level, char *buf, size_t size)
{
	static const char letters[] = {
		[LOG_ERROR] = 'E', [LOG_WARNING] = 'W', [LOG_INFO] = 'I', [LOG_DEBUG] = 'D'};
	struct timespec now;
	struct tm tm;
	int len;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)localtime_r(&now.tv_sec, &tm);
	len = snprintf(buf, size, "%c%02d%02d %02d:%02d:%02d.%06ld ", letters[level], tm.tm_mon + 1,
		       tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000);
	return len > 0 ? (size_t)len : 0;
}

/* One write per line, so that lines of several processes do not mix. */
static void line_write(enum log_level level, int err, const char *format, va_list args)
{
	char line[2048];
	size_t room = sizeof(line) - 1; /* keeps one byte for the newline */
	size_t len = prefix_format(level, line, room);
	int added = vsnprintf(line + len, room - len, format, args);

	if (added > 0)
		len = len + (size_t)added < room ? len + (size_t)added : room - 1;
	if (err) {
		added = snprintf(line + len, room - len, ": %s", strerror(-err));
		if (added > 0)
			len = len + (size_t)added < room ? len + (size_t)added : room - 1;
	}
	line[len++] = '\n';
	(void)fwrite(line, 1, len, stderr);
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > max_level)
		return;
	va_start(args, format);
	line_write(level, 0, format, args);
	va_end(args);
}

int log_err(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_write(LOG_ERROR, err, format, args);
	va_end(args);
	return err;
}
