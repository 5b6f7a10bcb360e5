/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>
#include <cmocka.h>

#include "between.h"
#include "base/log_fold.h"
#include "base/log_line.h"

#define SECOND    1000ULL
#define LINES_MAX (2 * LOG_FOLD_KINDS)

static const struct timespec noon = {.tv_sec = 1777898096, .tv_nsec = 123456789};

/* What was logged: lines as "E text". */
struct logged {
	char lines[LINES_MAX][LOG_MESSAGE_SIZE];
	size_t count, messages; /* that the lines stand for */
	struct log_fold fold;
	uint64_t now_ms;
};

static void line_keep(enum log_level level, const char *message, unsigned int count, void *context)
{
	struct logged *logged = context;

	assert_true(logged->count < LINES_MAX);
	logged->messages += count;
	(void)snprintf(logged->lines[logged->count++], LOG_MESSAGE_SIZE, "%c %.*s", "EWID"[level],
		       LOG_MESSAGE_SIZE - 3, message);
}

static int setup(void **state)
{
	struct logged *logged = calloc(1, sizeof(*logged));

	assert_non_null(logged);
	logged->fold.write = line_keep;
	logged->fold.context = logged;
	logged->now_ms = 3 * SECOND;
	*state = logged;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* Each text is a kind of its own. */
static void when_said(struct logged *logged, const char *message)
{
	log_fold_log(&logged->fold, message, LOG_WARNING, message, logged->now_ms);
}

/* All are of one kind. */
static void when_service_fails(struct logged *logged, unsigned int number)
{
	static const char kind[] = "publisher.c:132";
	char message[96];

	(void)snprintf(message, sizeof(message), "service default/web-%u port http does not fit",
		       number);
	log_fold_log(&logged->fold, kind, LOG_WARNING, message, logged->now_ms);
}

static void when_time_passes(struct logged *logged, uint64_t ms)
{
	logged->now_ms += ms;
	log_fold_flush_due(&logged->fold, logged->now_ms);
}

static void then_logged(struct logged *logged, size_t count, const char *last)
{
	assert_int_equal(logged->count, count);
	assert_string_equal(logged->lines[count - 1], last);
}

static void a_message_is_told_at_once(void **state)
{
	struct logged *logged = *state;

	when_said(logged, "the server is gone");
	then_logged(logged, 1, "W the server is gone");
	when_said(logged, "the server is back");
	then_logged(logged, 2, "W the server is back");
	assert_int_equal(log_fold_wait_ms(&logged->fold, logged->now_ms), 0);
}

static void repeats_are_counted_and_told_when_the_window_ends(void **state)
{
	struct logged *logged = *state;

	when_said(logged, "the server is gone");
	for (int i = 0; i < 1000; i++)
		when_said(logged, "the server is gone");
	then_logged(logged, 1, "W the server is gone");
	assert_int_equal(log_fold_wait_ms(&logged->fold, logged->now_ms), LOG_FOLD_WINDOW_MS);
	when_time_passes(logged, LOG_FOLD_WINDOW_MS - 1);
	then_logged(logged, 1, "W the server is gone");
	assert_int_equal(log_fold_wait_ms(&logged->fold, logged->now_ms), 1);
	when_time_passes(logged, 1);
	then_logged(logged, 2, "W the server is gone (repeated 1000 times in 10.0 s)");
	assert_int_equal(log_fold_wait_ms(&logged->fold, logged->now_ms), 0);
	when_time_passes(logged, 100 * SECOND);
	assert_int_equal(logged->count, 2);
}

static void a_message_that_goes_on_takes_one_line_a_window(void **state)
{
	struct logged *logged = *state;

	for (int i = 0; i < 601; i++) {
		when_said(logged, "the server is gone");
		when_time_passes(logged, 100);
	}
	log_fold_flush(&logged->fold, logged->now_ms);
	/* A minute: the first, and a count for each of six windows and what was left. */
	assert_between(logged->count, 7, 8);
}

static void no_repeat_is_lost_from_the_counts(void **state)
{
	struct logged *logged = *state;
	unsigned int sum = 0;

	for (int i = 0; i < 777; i++) {
		when_said(logged, "again");
		when_time_passes(logged, 97);
	}
	log_fold_flush(&logged->fold, logged->now_ms);
	for (size_t i = 0; i < logged->count; i++) {
		unsigned int repeats = 0;

		sum += sscanf(logged->lines[i], "W again (repeated %u", &repeats) == 1 ? repeats
										       : 1;
	}
	assert_int_equal(sum, 777);
}

static void after_a_quiet_window_it_is_told_at_once_again(void **state)
{
	struct logged *logged = *state;

	when_said(logged, "the server is gone");
	when_time_passes(logged, LOG_FOLD_WINDOW_MS);
	when_said(logged, "the server is gone");
	then_logged(logged, 2, "W the server is gone");
}

static void the_same_text_of_another_level_is_another_message(void **state)
{
	struct logged *logged = *state;

	log_fold_log(&logged->fold, logged->lines[0], LOG_WARNING, "gone", logged->now_ms);
	log_fold_log(&logged->fold, logged->lines[0], LOG_ERROR, "gone", logged->now_ms);
	then_logged(logged, 2, "E gone");
}

static void texts_that_alternate_are_folded_each(void **state)
{
	struct logged *logged = *state;

	for (int i = 0; i < 50; i++) {
		when_said(logged, "server a is gone");
		when_said(logged, "server b is gone");
	}
	assert_int_equal(logged->count, 2);
	log_fold_flush(&logged->fold, logged->now_ms);
	then_logged(logged, 4, "W server b is gone (repeated 49 times in 0.0 s)");
}

static void a_text_that_loses_its_place_tells_its_count_first(void **state)
{
	struct logged *logged = *state;
	char messages[LOG_FOLD_KINDS][32];

	when_said(logged, "old");
	when_said(logged, "old");
	for (int i = 0; i < LOG_FOLD_KINDS; i++) {
		logged->now_ms++;
		(void)snprintf(messages[i], sizeof(messages[i]), "new %d", i);
		when_said(logged, messages[i]);
	}
	assert_int_equal(logged->count, LOG_FOLD_KINDS + 2);
	assert_string_equal(logged->lines[LOG_FOLD_KINDS], "W old (repeated once in 0.1 s)");
	then_logged(logged, LOG_FOLD_KINDS + 2, "W new 63");
}

static void the_first_few_of_a_kind_are_logged_at_once_and_the_others_in_one_line(void **state)
{
	struct logged *logged = *state;

	for (unsigned int i = 0; i < LOG_FOLD_AT_ONCE + 8; i++)
		when_service_fails(logged, i);
	then_logged(logged, LOG_FOLD_AT_ONCE, "W service default/web-9 port http does not fit");
	when_time_passes(logged, LOG_FOLD_WINDOW_MS);
	then_logged(
		logged, LOG_FOLD_AT_ONCE + 1,
		"W service default/web-10 port http does not fit (and 7 more like it in 10.0 s: "
		"default/web-11, default/web-12, default/web-13, default/web-14, "
		"default/web-15, ...)");
	assert_int_equal(logged->messages, LOG_FOLD_AT_ONCE + 8);
	/* After a window without any it begins anew. */
	when_time_passes(logged, LOG_FOLD_WINDOW_MS);
	when_service_fails(logged, 20);
	then_logged(logged, LOG_FOLD_AT_ONCE + 2,
		    "W service default/web-20 port http does not fit");
}

static void one_that_is_held_back_is_logged_as_it_is(void **state)
{
	struct logged *logged = *state;

	for (unsigned int i = 0; i <= LOG_FOLD_AT_ONCE; i++)
		when_service_fails(logged, i);
	log_fold_flush(&logged->fold, logged->now_ms);
	then_logged(logged, LOG_FOLD_AT_ONCE + 1,
		    "W service default/web-10 port http does not fit");
}

static void sixty_objects_that_fail_twice_a_second_take_a_line_a_window(void **state)
{
	struct logged *logged = *state;

	for (int half_second = 0; half_second < 120; half_second++) {
		for (unsigned int i = 0; i < 60; i++)
			when_service_fails(logged, i);
		when_time_passes(logged, SECOND / 2);
	}
	log_fold_flush(&logged->fold, logged->now_ms);
	assert_between(logged->count, LOG_FOLD_AT_ONCE + 6, LOG_FOLD_AT_ONCE + 7);
	assert_int_equal(logged->messages, 120 * 60);
}

static void ten_thousand_services_that_do_not_fit_take_a_few_lines(void **state)
{
	struct logged *logged = *state;

	for (unsigned int i = 0; i < 10000; i++)
		when_service_fails(logged, i);
	when_time_passes(logged, LOG_FOLD_WINDOW_MS);
	assert_int_equal(logged->count, LOG_FOLD_AT_ONCE + 1);
	assert_int_equal(logged->messages, 10000);
}

static void a_new_message_is_logged_at_once_while_another_of_its_kind_goes_on(void **state)
{
	struct logged *logged = *state;

	/* One fails all the time, and every 12 s another one once: more than a kind may at once. */
	for (unsigned int i = 1; i <= 3 * LOG_FOLD_AT_ONCE; i++) {
		char wanted[LOG_MESSAGE_SIZE];

		for (int second = 0; second < 12; second++) {
			when_service_fails(logged, 0);
			when_time_passes(logged, SECOND);
		}
		when_service_fails(logged, i);
		(void)snprintf(wanted, sizeof(wanted),
			       "W service default/web-%u port http does not fit", i);
		assert_string_equal(logged->lines[logged->count - 1], wanted);
	}
}

static void a_message_of_full_length_keeps_its_count(void **state)
{
	struct logged *logged = *state;
	char message[LOG_MESSAGE_SIZE + 50];

	memset(message, 'x', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	when_said(logged, message);
	when_said(logged, message);
	log_fold_flush(&logged->fold, logged->now_ms);
	assert_int_equal(logged->count, 2);
	assert_non_null(strstr(logged->lines[1], " (repeated once in 0.0"));
}

static void text_has_klogs_header(void **state)
{
	char line[LOG_LINE_SIZE];
	size_t length;

	(void)state;
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	tzset();
	length = log_line_text(LOG_WARNING, &noon, 4711, "a map is full", line);
	assert_string_equal(line, "W0504 12:34:56.123456    4711 fairlead] a map is full\n");
	assert_int_equal(length, strlen(line));
}

static void a_text_line_is_one_line(void **state)
{
	char line[LOG_LINE_SIZE];
	size_t length;

	(void)state;
	length = log_line_text(LOG_INFO, &noon, 1, "two\nlines\x1b[31m", line);
	assert_non_null(strstr(line, "two lines [31m\n"));
	assert_ptr_equal(strchr(line, '\n'), line + length - 1);
}

static void then_json(const char *message, const char *wanted)
{
	char line[LOG_LINE_SIZE];
	size_t length = log_line_json(LOG_INFO, &noon, message, 1, line);
	cJSON *root = cJSON_Parse(line);

	assert_int_equal(length, strlen(line));
	assert_ptr_equal(strchr(line, '\n'), line + length - 1);
	assert_non_null(root);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(root, "msg")), wanted);
	cJSON_Delete(root);
}

static void json_keeps_every_message_readable(void **state)
{
	(void)state;
	then_json("plain", "plain");
	then_json("a \"quote\", a \\ and\na line", "a \"quote\", a \\ and\na line");
	then_json("\x01\x7f", "\x01\x7f");
	then_json("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	/* Cut off, overlong, a surrogate, a byte that begins nothing. */
	then_json("x\xe2\x82", "x\xef\xbf\xbd\xef\xbf\xbd");
	then_json("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");
	then_json("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	then_json("\xff", "\xef\xbf\xbd");
}

static void json_names_time_level_and_count(void **state)
{
	char line[LOG_LINE_SIZE];

	(void)state;
	(void)log_line_json(LOG_ERROR, &noon, "no", 1, line);
	assert_string_equal(line,
			    "{\"ts\":1777898096123.456,\"level\":\"error\",\"msg\":\"no\"}\n");
	(void)log_line_json(LOG_DEBUG, &noon, "no", 1, line);
	assert_string_equal(
		line, "{\"ts\":1777898096123.456,\"level\":\"debug\",\"v\":3,\"msg\":\"no\"}\n");
	(void)log_line_json(LOG_ERROR, &noon, "no", 58, line);
	assert_string_equal(
		line,
		"{\"ts\":1777898096123.456,\"level\":\"error\",\"msg\":\"no\",\"count\":58}\n");
}

static void the_longest_message_fits_whatever_is_in_it(void **state)
{
	char message[LOG_MESSAGE_SIZE + 100], line[LOG_LINE_SIZE];

	(void)state;
	memset(message, 1, sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	assert_true(log_line_json(LOG_WARNING, &noon, message, 2, line) < sizeof(line));
	assert_true(log_line_text(LOG_WARNING, &noon, 1, message, line) < sizeof(line));
}

/* Logs a message into a pipe that has room for the first piece of its line, and no more. */
static void line_cut(int reader, char *begun, size_t size)
{
	char quotes[LOG_MESSAGE_SIZE] = "", filled[PIPE_BUF];

	memset(quotes, '"', sizeof(quotes) - 1);
	memset(filled, 'x', sizeof(filled));
	assert_int_equal(write(STDERR_FILENO, filled, sizeof(filled)), sizeof(filled));
	log_warning("%s", quotes);
	assert_int_equal(read(reader, filled, sizeof(filled)), sizeof(filled));
	assert_int_equal(read(reader, begun, size), size);
}

static void a_line_that_is_cut_takes_no_other_with_it(void **state)
{
	const int kept_stderr = dup(STDERR_FILENO);
	char begun[PIPE_BUF], text[4096] = "";
	cJSON *lost, *next;
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(fcntl(pipe_fds[1], F_SETPIPE_SZ, 2 * PIPE_BUF), 2 * PIPE_BUF);
	assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	log_set_format(LOG_FORMAT_JSON);
	line_cut(pipe_fds[0], begun, sizeof(begun));
	log_warning("the next");
	log_set_format(LOG_FORMAT_TEXT);
	assert_int_equal(dup2(kept_stderr, STDERR_FILENO), STDERR_FILENO);

	assert_true(read(pipe_fds[0], text, sizeof(text) - 1) > 0);
	assert_null(memchr(begun, '\n', sizeof(begun)));
	assert_int_equal(*text, '\n');
	lost = cJSON_Parse(strtok(text, "\n"));
	next = cJSON_Parse(strtok(NULL, "\n"));
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(lost, "msg")),
			    "1 line was lost from this log: nobody read it, and it was full");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(next, "msg")), "the next");
	cJSON_Delete(lost);
	cJSON_Delete(next);
	(void)close(kept_stderr);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_message_is_told_at_once),
		test(repeats_are_counted_and_told_when_the_window_ends),
		test(a_message_that_goes_on_takes_one_line_a_window),
		test(no_repeat_is_lost_from_the_counts),
		test(after_a_quiet_window_it_is_told_at_once_again),
		test(the_same_text_of_another_level_is_another_message),
		test(texts_that_alternate_are_folded_each),
		test(a_text_that_loses_its_place_tells_its_count_first),
		test(the_first_few_of_a_kind_are_logged_at_once_and_the_others_in_one_line),
		test(one_that_is_held_back_is_logged_as_it_is),
		test(sixty_objects_that_fail_twice_a_second_take_a_line_a_window),
		test(ten_thousand_services_that_do_not_fit_take_a_few_lines),
		test(a_new_message_is_logged_at_once_while_another_of_its_kind_goes_on),
		test(a_message_of_full_length_keeps_its_count),
		cmocka_unit_test(text_has_klogs_header),
		cmocka_unit_test(a_text_line_is_one_line),
		cmocka_unit_test(json_keeps_every_message_readable),
		cmocka_unit_test(json_names_time_level_and_count),
		cmocka_unit_test(the_longest_message_fits_whatever_is_in_it),
		cmocka_unit_test(a_line_that_is_cut_takes_no_other_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
