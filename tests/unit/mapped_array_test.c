/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mapped_array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#define VALUES     1000000U
#define VALUE_SIZE 24

/* Memory that can be mapped as a map can. */
static int map_fd;

static int map_make(void **state)
{
	(void)state;
	map_fd = memfd_create("fl-array", MFD_CLOEXEC);
	return map_fd < 0 || ftruncate(map_fd, (off_t)VALUES * VALUE_SIZE + 4096) ? -1 : 0;
}

static int map_drop(void **state)
{
	(void)state;
	return close(map_fd);
}

static uint32_t *value_at(char *array, uint32_t index)
{
	return (uint32_t *)(void *)(array + (size_t)index * VALUE_SIZE);
}

static void values_write(char *array)
{
	for (uint32_t i = 0; i < VALUES; i++) {
		value_at(array, i)[0] = i;
		value_at(array, i)[VALUE_SIZE / 4 - 1] = ~i;
	}
}

static void assert_values(char *array)
{
	for (uint32_t i = 0; i < VALUES; i++) {
		assert_int_equal(value_at(array, i)[0], i);
		assert_int_equal(value_at(array, i)[VALUE_SIZE / 4 - 1], ~i);
	}
}

static void every_value_of_a_map_is_reached_and_kept(void **state)
{
	char *array = mapped_array_of(map_fd, VALUES, VALUE_SIZE);
	const char *view;

	(void)state;
	assert_non_null(array);
	values_write(array);
	assert_values(array);
	mapped_array_free(array, VALUES, VALUE_SIZE);

	view = mapped_array_view(map_fd, VALUES, VALUE_SIZE);
	assert_non_null(view);
	assert_values((char *)view);
	mapped_array_free(view, VALUES, VALUE_SIZE);
}

static void an_array_of_our_own_is_zeroed(void **state)
{
	char *array = mapped_array_new(VALUES, VALUE_SIZE);

	(void)state;
	assert_non_null(array);
	for (uint32_t i = 0; i < VALUES; i++)
		assert_int_equal(value_at(array, i)[0], 0);
	values_write(array);
	assert_values(array);
	mapped_array_free(array, VALUES, VALUE_SIZE);
}

static void what_cannot_be_mapped_is_said_at_the_start(void **state)
{
	(void)state;
	assert_null(mapped_array_of(-1, VALUES, VALUE_SIZE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_of_a_map_is_reached_and_kept),
		cmocka_unit_test(an_array_of_our_own_is_zeroed),
		cmocka_unit_test(what_cannot_be_mapped_is_said_at_the_start),
	};

	return cmocka_run_group_tests(tests, map_make, map_drop);
}
