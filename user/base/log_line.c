/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>

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

/* The length of the UTF-8 sequence at `at`; 0 if it is invalid. */
static size_t utf8_length(const unsigned char *at)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;

	if (length > 1 && (at[0] < 0xc2 || at[0] > 0xf4))
		return 0;
	/* The terminating NUL is not a continuation byte, so this does not read past it. */
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

/* Writes the character at `*at`, escaped for a JSON string, and moves `*at` past it. */
static size_t character_escape(const unsigned char **at, char *buf)
{
	const unsigned char c = **at;
	size_t length = utf8_length(*at);

	*at += length ? length : 1;
	if (!length)
		return (size_t)sprintf(buf, "%s", REPLACEMENT);
	if (c < ' ' || c == 0x7f)
		return (size_t)sprintf(buf, "\\u%04x", c);
	if (c == '"' || c == '\\') {
		buf[0] = '\\';
		buf[1] = (char)c;
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
	const unsigned char *at = (const unsigned char *)message;
	const unsigned char *end = at + strnlen(message, LOG_MESSAGE_SIZE - 1);
	size_t length = (size_t)snprintf(buf, LOG_LINE_SIZE,
					 "{\"ts\":%lld%03ld.%03ld,\"level\":%s,\"msg\":\"",
					 (long long)now->tv_sec, now->tv_nsec / 1000000,
					 now->tv_nsec / 1000 % 1000, levels[level]);

	while (at < end)
		length += character_escape(&at, buf + length);
	if (count > 1)
		return length + (size_t)sprintf(buf + length, "\",\"count\":%u}\n", count);
	return length + (size_t)sprintf(buf + length, "\"}\n");
}
