/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "between.h"
#include "model/shared_name.h"

#define NAMES 1000

static void equal_names_have_one_number(void **state)
{
	char again[] = "node-1";
	uint32_t first = shared_name_acquire("node-1"), other = shared_name_acquire("node-2"),
		 second = shared_name_acquire(again);

	(void)state;
	assert_int_not_equal(first, 0);
	assert_int_not_equal(first, other);
	assert_int_equal(first, second);
	shared_name_release(first);
	assert_string_equal(shared_name_text(second), "node-1");
	assert_string_equal(shared_name_text(other), "node-2");
	shared_name_release(second);
	shared_name_release(other);
}

static void numbers_are_used_again(void **state)
{
	uint32_t ids[NAMES];
	char text[32];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < NAMES; i++) {
			(void)snprintf(text, sizeof(text), "node-%d-%d", round, i);
			ids[i] = shared_name_acquire(text);
			assert_between(ids[i], 1, NAMES + 2);
		}
		for (int i = 0; i < NAMES; i++) {
			(void)snprintf(text, sizeof(text), "node-%d-%d", round, i);
			assert_string_equal(shared_name_text(ids[i]), text);
			shared_name_release(ids[i]);
		}
	}
}

static void no_name_has_no_text(void **state)
{
	(void)state;
	assert_null(shared_name_text(0));
	shared_name_release(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_names_have_one_number),
		cmocka_unit_test(numbers_are_used_again),
		cmocka_unit_test(no_name_has_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
