/* SPDX-License-Identifier: BSD-2-Clause */

/* How often a line about the same thing may be logged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rate_limit.h"

#define ENTRIES   3
#define SECOND_NS 1000000000ULL

static struct rate_limit_entry entries[ENTRIES];

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < ENTRIES; i++)
		entries[i] = (struct rate_limit_entry){};
	return 0;
}

static bool allows(uint32_t key, uint64_t at_s)
{
	return rate_limit_allows(entries, ENTRIES, &key, sizeof(key), at_s * SECOND_NS);
}

static void a_key_is_allowed_once_a_minute(void **state)
{
	(void)state;
	assert_true(allows(7, 1000));
	assert_false(allows(7, 1000));
	assert_false(allows(7, 1059));
	assert_true(allows(7, 1060));
	assert_false(allows(7, 1061));
}

static void keys_do_not_wait_for_each_other(void **state)
{
	(void)state;
	assert_true(allows(7, 1000));
	assert_true(allows(8, 1001));
	assert_false(allows(7, 1002));
	assert_false(allows(8, 1002));
}

static void no_more_lines_a_minute_than_there_are_entries(void **state)
{
	(void)state;
	assert_true(allows(1, 1000));
	assert_true(allows(2, 1010));
	assert_true(allows(3, 1020));
	assert_false(allows(4, 1059));
	assert_true(allows(4, 1060));
	assert_false(allows(5, 1060));
	assert_false(allows(2, 1060));
}

static void a_key_that_begins_like_another_is_another(void **state)
{
	const uint32_t keys[2] = {7, 8};

	(void)state;
	assert_true(rate_limit_allows(entries, ENTRIES, keys, sizeof(keys), SECOND_NS));
	assert_true(allows(7, 1));
	assert_false(rate_limit_allows(entries, ENTRIES, keys, sizeof(keys), SECOND_NS));
}

static void an_entry_that_changes_hands_begins_anew(void **state)
{
	const uint32_t one = 1, two = 2;
	struct rate_limit_entry *entry = rate_limit_find(entries, 1, &one, sizeof(one));

	(void)state;
	rate_limit_assign(entry, &one, sizeof(one));
	entry->count = 70;
	entry->logged_ns = SECOND_NS;
	rate_limit_assign(entry, &one, sizeof(one));
	assert_int_equal(entry->count, 70);
	assert_true(rate_limit_is_recent(entry, 2 * SECOND_NS));

	entry = rate_limit_find(entries, 1, &two, sizeof(two));
	rate_limit_assign(entry, &two, sizeof(two));
	assert_int_equal(entry->count, 0);
	assert_false(rate_limit_is_recent(entry, 2 * SECOND_NS));
	assert_ptr_equal(rate_limit_find(entries, 1, &two, sizeof(two)), entry);
}

/* What was counted for a key and not logged yet is lost with its entry. */
static void an_unlogged_entry_stays_while_others_are_free(void **state)
{
	struct rate_limit_entry *found[ENTRIES];

	(void)state;
	for (uint32_t key = 0; key < ENTRIES; key++) {
		const uint32_t source = key + 1;

		found[key] = rate_limit_find(entries, ENTRIES, &source, sizeof(source));
		rate_limit_assign(found[key], &source, sizeof(source));
		found[key]->count = 10 * source;
	}
	for (uint32_t key = 0; key < ENTRIES; key++) {
		const uint32_t source = key + 1;

		assert_ptr_equal(rate_limit_find(entries, ENTRIES, &source, sizeof(source)),
				 found[key]);
		assert_int_equal(found[key]->count, 10 * source);
	}
}

static void a_full_table_gives_up_what_was_logged_first(void **state)
{
	const uint32_t another = 9;

	(void)state;
	assert_true(allows(1, 1020));
	assert_true(allows(2, 1000));
	assert_true(allows(3, 1010));
	assert_ptr_equal(rate_limit_find(entries, ENTRIES, &another, sizeof(another)), &entries[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_key_is_allowed_once_a_minute, setup),
		cmocka_unit_test_setup(keys_do_not_wait_for_each_other, setup),
		cmocka_unit_test_setup(no_more_lines_a_minute_than_there_are_entries, setup),
		cmocka_unit_test_setup(a_key_that_begins_like_another_is_another, setup),
		cmocka_unit_test_setup(an_entry_that_changes_hands_begins_anew, setup),
		cmocka_unit_test_setup(an_unlogged_entry_stays_while_others_are_free, setup),
		cmocka_unit_test_setup(a_full_table_gives_up_what_was_logged_first, setup),
	};

	return cmocka_run_group_tests_name("rate limit", tests, NULL, NULL);
}
