/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kube/post/event_book.h"

#define SECOND 1000000000ULL

static struct event_book book;
static struct event_time now;

static int setup(void **state)
{
	(void)state;
	book = (struct event_book){};
	now = (struct event_time){.monotonic_ns = 7 * SECOND, .realtime_ns = 1000 * SECOND};
	return 0;
}

static void when_time_passes(uint64_t ns)
{
	now.monotonic_ns += ns;
	now.realtime_ns += ns;
}

static void when_told(const char *reason, const char *note)
{
	const struct event_text text = {
		.type = "Warning", .reason = reason, .action = "Look", .note = note};

	assert_non_null(event_book_add(&book, &text, &now));
}

static struct event_entry *when_told_of_service(const char *reason, const char *name)
{
	const struct event_text text = {.type = "Warning",
					.reason = reason,
					.action = "Look",
					.note = name,
					.service_namespace = "shop",
					.service_name = name};
	struct event_entry *entry = event_book_add(&book, &text, &now);

	assert_non_null(entry);
	return entry;
}

static struct event_entry *taken(void)
{
	uint64_t wait_ns;

	return event_book_dequeue(&book, now.monotonic_ns, &wait_ns);
}

static uint64_t then_waits(void)
{
	uint64_t wait_ns;

	assert_null(event_book_dequeue(&book, now.monotonic_ns, &wait_ns));
	return wait_ns;
}

static void when_done(struct event_entry *entry, enum event_result result)
{
	assert_true(event_book_record_result(entry, result, now.monotonic_ns));
}

static void test_what_is_told_is_posted_at_once(void **state)
{
	struct event_entry *entry;

	(void)state;
	assert_int_equal(then_waits(), 0);
	assert_false(event_book_is_busy(&book));
	when_told("MapFull", "no room");
	assert_true(event_book_is_busy(&book));
	entry = taken();
	assert_non_null(entry);
	assert_string_equal(entry->reason, "MapFull");
	assert_string_equal(entry->note, "no room");
	assert_int_equal(entry->posting, 1);
	assert_int_equal(entry->posting_first.realtime_ns, 1000 * SECOND);
	assert_true(event_book_is_busy(&book));
	assert_int_equal(then_waits(), 0);
	when_done(entry, EVENT_POSTED);
	assert_false(event_book_is_busy(&book));
}

static void test_after_a_few_it_is_one_every_five_minutes(void **state)
{
	(void)state;
	for (int i = 0; i < EVENT_BURST; i++) {
		when_told("HookLost", "eth0");
		when_done(taken(), EVENT_POSTED);
	}
	when_told("HookLost", "eth0");
	assert_int_equal(then_waits(), 300 * SECOND);
	assert_false(event_book_is_busy(&book));
	when_time_passes(299 * SECOND);
	assert_int_equal(then_waits(), SECOND);
	when_time_passes(SECOND);
	when_done(taken(), EVENT_POSTED);
	when_told("HookLost", "eth0");
	assert_int_equal(then_waits(), 300 * SECOND);
}

static void test_a_long_silence_allows_a_few_at_once_again_and_not_more(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < EVENT_BURST; i++) {
			when_told("HookLost", "eth0");
			when_done(taken(), EVENT_POSTED);
		}
		when_told("HookLost", "eth0");
		assert_int_equal(then_waits(), 300 * SECOND);
		when_time_passes(86400 * SECOND);
		when_done(taken(), EVENT_POSTED);
		when_time_passes(86400 * SECOND);
	}
}

static void test_what_is_told_meanwhile_is_a_series_with_the_last_note(void **state)
{
	struct event_entry *entry;

	(void)state;
	for (int i = 0; i < EVENT_BURST; i++) {
		when_told("HookLost", "eth0");
		when_done(taken(), EVENT_POSTED);
	}
	for (int i = 0; i < 100; i++) {
		char note[16];

		(void)snprintf(note, sizeof(note), "pod%d", i);
		when_told("HookLost", note);
		when_time_passes(SECOND);
	}
	when_time_passes(200 * SECOND);
	entry = taken();
	assert_non_null(entry);
	assert_int_equal(entry->posting, 100);
	assert_string_equal(entry->note, "pod99");
	assert_int_equal(entry->posting_first.realtime_ns, 1000 * SECOND);
	assert_int_equal(entry->last.realtime_ns, 1099 * SECOND);
}

static void test_reasons_do_not_take_each_others_turn(void **state)
{
	(void)state;
	for (int i = 0; i < EVENT_BURST; i++) {
		when_told("HookLost", "eth0");
		when_done(taken(), EVENT_POSTED);
	}
	when_told("HookLost", "eth0");
	when_told("MapFull", "no room");
	assert_string_equal(taken()->reason, "MapFull");
	assert_int_equal(then_waits(), 300 * SECOND);
}

static void test_one_of_a_reason_is_on_its_way_at_a_time(void **state)
{
	struct event_entry *entry;

	(void)state;
	when_told("HookLost", "eth0");
	entry = taken();
	when_told("HookLost", "eth1");
	assert_int_equal(then_waits(), 0);
	when_done(entry, EVENT_POSTED);
	assert_ptr_equal(taken(), entry);
	assert_int_equal(entry->posting, 1);
	assert_string_equal(entry->note, "eth1");
}

static void test_what_could_not_be_posted_is_tried_again_ever_later(void **state)
{
	struct event_entry *entry;

	(void)state;
	when_told("Starting", "");
	when_done(taken(), EVENT_TRY_AGAIN);
	assert_int_equal(then_waits(), 10 * SECOND);
	when_told("Starting", "again");
	when_time_passes(10 * SECOND);
	entry = taken();
	assert_int_equal(entry->posting, 2);
	assert_int_equal(entry->posting_first.realtime_ns, 1000 * SECOND);
	when_done(entry, EVENT_TRY_AGAIN);
	assert_int_equal(then_waits(), 20 * SECOND);
}

static void test_it_is_given_up_after_some_failures_and_at_once_where_it_is_refused(void **state)
{
	(void)state;
	when_told("Starting", "");
	for (int i = 0; i < EVENT_TRIES_MAX - 1; i++) {
		when_done(taken(), EVENT_TRY_AGAIN);
		when_time_passes(then_waits());
	}
	assert_false(event_book_record_result(taken(), EVENT_TRY_AGAIN, now.monotonic_ns));
	assert_int_equal(then_waits(), 0);
	when_told("Starting", "");
	assert_false(event_book_record_result(taken(), EVENT_REFUSED, now.monotonic_ns));
	assert_int_equal(then_waits(), 0);
}

/* Tries until the event is given up. Returns how many of the failures were news; adds those of the end. */
static unsigned int when_it_fails(const char *why, unsigned int *ret_given_up)
{
	unsigned int again = 0;

	*ret_given_up = 0;
	for (;;) {
		struct event_entry *entry = taken();
		bool is_given_up =
			!event_book_record_result(entry, EVENT_TRY_AGAIN, now.monotonic_ns);

		if (is_given_up) {
			*ret_given_up = event_book_is_news(entry, true, why);
			return again;
		}
		again += event_book_is_news(entry, false, why);
		when_time_passes(1000 * SECOND);
	}
}

static void test_why_it_fails_is_told_once_and_once_more_when_it_is_given_up(void **state)
{
	unsigned int given_up;

	(void)state;
	when_told("Starting", "a");
	assert_int_equal(when_it_fails("HTTP 503", &given_up), 1);
	assert_int_equal(given_up, 1);
	when_told("Starting", "b");
	assert_int_equal(when_it_fails("HTTP 503", &given_up), 0);
	assert_int_equal(given_up, 0);
	when_told("Starting", "c");
	assert_int_equal(when_it_fails("no answer", &given_up), 1);
	assert_int_equal(given_up, 1);
	when_time_passes(10000 * SECOND);
	when_told("Starting", "d");
	assert_true(event_book_record_result(taken(), EVENT_POSTED, now.monotonic_ns));
	when_told("Starting", "e");
	assert_int_equal(when_it_fails("no answer", &given_up), 1);
	assert_int_equal(given_up, 1);
}

static void test_services_of_one_reason_are_told_of_each(void **state)
{
	static const char *const names[] = {"web", "db", "mail"};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		(void)when_told_of_service("AddressTaken", names[i]);
	for (size_t i = 0; i < 3; i++) {
		struct event_entry *entry = taken();

		assert_non_null(entry);
		assert_string_equal(entry->service_namespace, "shop");
		assert_string_equal(entry->service_name, names[i]);
		assert_string_equal(entry->note, names[i]);
		assert_int_equal(entry->posting, 1);
		when_done(entry, EVENT_POSTED);
	}
	assert_ptr_equal(when_told_of_service("AddressTaken", "db"), &book.entries[1]);
	assert_ptr_not_equal(when_told_of_service("HealthTaken", "db"), &book.entries[1]);
}

static void test_services_that_find_no_room_share_entries_and_their_budget(void **state)
{
	unsigned int posts = 0, events = 0;
	struct event_entry *entry;
	char name[16];

	(void)state;
	for (unsigned int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "web-%u", i);
		(void)when_told_of_service("AddressTaken", name);
		when_told("MapFull", "no room");
	}
	assert_int_equal(book.count, EVENT_SERVICES_MAX + 1);
	while ((entry = taken())) {
		events += entry->posting;
		when_done(entry, EVENT_POSTED);
	}
	assert_int_equal(events, 2000);
	for (unsigned int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "db-%u", i);
		(void)when_told_of_service("AddressTaken", name);
		while ((entry = taken())) {
			posts++;
			when_done(entry, EVENT_POSTED);
		}
	}
	assert_int_equal(posts, EVENT_SERVICES_MAX * (EVENT_BURST - 1));
}

static void test_there_is_room_for_so_many_reasons(void **state)
{
	char reasons[EVENT_ENTRIES_MAX + 1][8];

	(void)state;
	for (size_t i = 0; i <= EVENT_ENTRIES_MAX; i++) {
		const struct event_text text = {
			.type = "Warning", .reason = reasons[i], .action = "Look", .note = ""};

		(void)snprintf(reasons[i], sizeof(reasons[i]), "R%zu", i);
		assert_int_equal(!!event_book_add(&book, &text, &now), i < EVENT_ENTRIES_MAX);
	}
}

#define book_test(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		book_test(test_what_is_told_is_posted_at_once),
		book_test(test_after_a_few_it_is_one_every_five_minutes),
		book_test(test_a_long_silence_allows_a_few_at_once_again_and_not_more),
		book_test(test_what_is_told_meanwhile_is_a_series_with_the_last_note),
		book_test(test_reasons_do_not_take_each_others_turn),
		book_test(test_one_of_a_reason_is_on_its_way_at_a_time),
		book_test(test_what_could_not_be_posted_is_tried_again_ever_later),
		book_test(test_it_is_given_up_after_some_failures_and_at_once_where_it_is_refused),
		book_test(test_why_it_fails_is_told_once_and_once_more_when_it_is_given_up),
		book_test(test_services_of_one_reason_are_told_of_each),
		book_test(test_services_that_find_no_room_share_entries_and_their_budget),
		book_test(test_there_is_room_for_so_many_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
