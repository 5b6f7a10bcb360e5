/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/array.h"

#define ITEMS 1000

const char *__asan_default_options(void);

/* As malloc() does without a sanitizer: what is too large is NULL. */
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void items_stay_while_an_array_grows(void **state)
{
	uint32_t *items = NULL;
	size_t room = 0;

	(void)state;
	for (uint32_t i = 0; i < ITEMS; i++) {
		assert_int_equal(array_reserve(&items, &room, i, sizeof(*items)), 0);
		assert_true(room > i);
		items[i] = i;
	}
	for (uint32_t i = 0; i < ITEMS; i++)
		assert_int_equal(items[i], i);
	free(items);
}

static void an_array_with_room_stays_where_it_is(void **state)
{
	uint32_t *items = NULL, *before;
	size_t room = 0, room_before;

	(void)state;
	assert_int_equal(array_reserve(&items, &room, 0, sizeof(*items)), 0);
	before = items;
	room_before = room;
	assert_int_equal(array_reserve(&items, &room, room - 1, sizeof(*items)), 0);
	assert_ptr_equal(items, before);
	assert_int_equal(room, room_before);
	free(items);
}

static void without_memory_an_array_is_as_it_was(void **state)
{
	uint32_t *items = NULL, *before;
	size_t room = 0, room_before;

	(void)state;
	assert_int_equal(array_reserve(&items, &room, 0, sizeof(*items)), 0);
	items[0] = 7;
	before = items;
	room_before = room;
	assert_int_equal(array_reserve(&items, &room, room, SIZE_MAX / room), -ENOMEM);
	assert_ptr_equal(items, before);
	assert_int_equal(items[0], 7);
	assert_int_equal(room, room_before);
	free(items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_stay_while_an_array_grows),
		cmocka_unit_test(an_array_with_room_stays_where_it_is),
		cmocka_unit_test(without_memory_an_array_is_as_it_was),
	};

	return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
