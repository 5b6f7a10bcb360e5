/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/windows.h"

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
	map_fd = memfd_create("fl-windows", MFD_CLOEXEC);
	return map_fd < 0 || ftruncate(map_fd, (off_t)VALUES * VALUE_SIZE + 4096) ? -1 : 0;
}

static int map_drop(void **state)
{
	(void)state;
	return close(map_fd);
}

static void value_write(struct windows *windows, uint32_t index)
{
	uint32_t *value = windows_at(windows, index, VALUE_SIZE);

	value[0] = index;
	value[VALUE_SIZE / 4 - 1] = ~index;
}

static void assert_value(struct windows *windows, uint32_t index)
{
	const uint32_t *value = windows_at(windows, index, VALUE_SIZE);

	assert_int_equal(value[0], index);
	assert_int_equal(value[VALUE_SIZE / 4 - 1], ~index);
}

static void every_value_is_reached_wherever_windows_end(void **state)
{
	struct windows *windows;

	(void)state;
	assert_int_equal(windows_new(map_fd, VALUES, VALUE_SIZE, &windows), 0);
	for (uint32_t i = 0; i < VALUES; i++)
		value_write(windows, i);
	for (uint32_t i = 0; i < VALUES; i++)
		assert_value(windows, i);
	windows_free(windows);
}

static void values_are_there_after_windows_were_forgotten(void **state)
{
	struct windows *windows;

	(void)state;
	assert_int_equal(windows_new(map_fd, VALUES, VALUE_SIZE, &windows), 0);
	for (uint32_t i = 0; i < VALUES; i += 500)
		value_write(windows, i);
	windows_trim(windows);
	assert_int_equal(windows->mapped_count, 0);
	for (uint32_t i = 0; i < VALUES; i += 500)
		assert_value(windows, i);
	windows_free(windows);
}

static void a_few_windows_stay_mapped(void **state)
{
	struct windows *windows;
	const void *first;

	(void)state;
	assert_int_equal(windows_new(map_fd, VALUES, VALUE_SIZE, &windows), 0);
	value_write(windows, 0);
	value_write(windows, VALUES - 1);
	first = windows_at(windows, 0, VALUE_SIZE);
	windows_trim(windows);
	assert_int_equal(windows->mapped_count, 2);
	assert_ptr_equal(windows_at(windows, 0, VALUE_SIZE), first);
	windows_free(windows);
}

static void what_cannot_be_mapped_is_said_at_the_start(void **state)
{
	struct windows *windows = NULL;

	(void)state;
	assert_true(windows_new(-1, VALUES, VALUE_SIZE, &windows) < 0);
	assert_null(windows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_is_reached_wherever_windows_end),
		cmocka_unit_test(values_are_there_after_windows_were_forgotten),
		cmocka_unit_test(a_few_windows_stay_mapped),
		cmocka_unit_test(what_cannot_be_mapped_is_said_at_the_start),
	};

	return cmocka_run_group_tests(tests, map_make, map_drop);
}
