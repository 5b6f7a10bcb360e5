/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define REPLACEMENT "\\ufffd"

size_t log_line_text(enum log_level level, const struct timespec *now, pid_t pid,
		     const char *message, char buf[LOG_LINE_SIZE])
{
	static const char letters[] = {
		[LOG_ERROR] = 'E', [LOG_WARNING] = 'W', [LOG_INFO] = 'I', [LOG_DEBUG] = 'D'};
	struct tm tm;
	int begin;
	size_t length;

	(void)localtime_r(&now->tv_sec, &tm);
	/*
	 * As in klog, seven columns for the pid, but the program's name in place of klog's file
	 * name.
	 */
	begin = snprintf(buf, LOG_LINE_SIZE, "%c%02d%02d %02d:%02d:%02d.%06ld %7d fairlead] ",
			 letters[level], tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			 tm.tm_sec, now->tv_nsec / 1000, (int)pid);
	length = (size_t)begin + strnlen(message, LOG_MESSAGE_SIZE - 1);
	memcpy(buf + begin, message, length - (size_t)begin);
	for (size_t i = (size_t)begin; i < length; i++) {
		if ((unsigned char)buf[i] < ' ' || buf[i] == 0x7f)
			buf[i] = ' ';
	}
	buf[length++] = '\n';
	buf[length] = '\0';
	return length;
}

/* Writes the character at `*at`, escaped for a JSON string, and moves `*at` past it. */
static size_t character_escape(const char **at, const char *end, char *buf)
{
	const char c = **at;
	size_t length = utf8_length(*at, (size_t)(end - *at));

	*at += length ? length : 1;
	if (!length)
		return (size_t)sprintf(buf, "%s", REPLACEMENT);
	if ((unsigned char)c < ' ' || c == 0x7f)
		return (size_t)sprintf(buf, "\\u%04x", c);
	if (c == '"' || c == '\\') {
		buf[0] = '\\';
		buf[1] = c;
		return 2;
	}
	memcpy(buf, *at - length, length);
	return length;
}

size_t log_line_json(enum log_level level, const struct timespec *now, const char *message,
		     unsigned int count, char buf[LOG_LINE_SIZE])
{
	static const char *const levels[] = {
		[LOG_ERROR] = "\"error\"",
		[LOG_WARNING] = "\"warning\",\"v\":0",
		[LOG_INFO] = "\"info\",\"v\":0",
		[LOG_DEBUG] = "\"debug\",\"v\":3",
	};
	const char *at = message, *end = at + strnlen(message, LOG_MESSAGE_SIZE - 1);
	size_t length = (size_t)snprintf(buf, LOG_LINE_SIZE,
					 "{\"ts\":%lld%03ld.%03ld,\"level\":%s,\"msg\":\"",
					 (long long)now->tv_sec, now->tv_nsec / 1000000,
					 now->tv_nsec / 1000 % 1000, levels[level]);

	while (at < end)
		length += character_escape(&at, end, buf + length);
	if (count > 1)
		return length + (size_t)sprintf(buf + length, "\",\"count\":%u}\n", count);
	return length + (size_t)sprintf(buf + length, "\"}\n");
}
