/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "between.h"
#include "base/lookup.h"

#define NUMBERS 5000U

static uint32_t numbers[NUMBERS];

static bool number_is(const void *item, const void *key)
{
	return *(const uint32_t *)item == *(const uint32_t *)key;
}

/* Few hashes for many items, so that they are in each other's way. */
static uint32_t hash_of(uint32_t number)
{
	return number % 300;
}

static uint32_t *when_found(const struct lookup *lookup, uint32_t number)
{
	return lookup_find(lookup, hash_of(number), number_is, &number);
}

static struct lookup given_numbers(void)
{
	struct lookup lookup = {};

	for (uint32_t i = 0; i < NUMBERS; i++) {
		numbers[i] = i;
		assert_int_equal(lookup_add(&lookup, hash_of(i), &numbers[i]), 0);
	}
	assert_int_equal(lookup.count, NUMBERS);
	return lookup;
}

static void an_empty_table_has_nothing(void **state)
{
	struct lookup lookup = {};
	uint32_t position = 0;

	(void)state;
	assert_null(when_found(&lookup, 1));
	assert_null(lookup_next(&lookup, &position));
	lookup_remove(&lookup, hash_of(1), &numbers[1]);
	lookup_fini(&lookup);
}

static void what_is_added_is_found(void **state)
{
	struct lookup lookup = given_numbers();

	(void)state;
	for (uint32_t i = 0; i < NUMBERS; i++)
		assert_ptr_equal(when_found(&lookup, i), &numbers[i]);
	assert_null(when_found(&lookup, NUMBERS));
	lookup_fini(&lookup);
}

static void what_is_removed_is_gone_and_hides_nothing(void **state)
{
	struct lookup lookup = given_numbers();

	(void)state;
	for (uint32_t i = 0; i < NUMBERS; i += 2)
		lookup_remove(&lookup, hash_of(i), &numbers[i]);
	assert_int_equal(lookup.count, NUMBERS / 2);
	for (uint32_t i = 0; i < NUMBERS; i++)
		assert_ptr_equal(when_found(&lookup, i), i % 2 ? &numbers[i] : NULL);
	lookup_fini(&lookup);
}

static void coming_and_going_does_not_make_it_larger(void **state)
{
	struct lookup lookup = given_numbers();
	uint32_t size;

	(void)state;
	for (uint32_t i = 10; i < NUMBERS; i++)
		lookup_remove(&lookup, hash_of(i), &numbers[i]);
	for (uint32_t round = 0; round < 10 * NUMBERS; round++) {
		assert_int_equal(lookup_add(&lookup, hash_of(11), &numbers[11]), 0);
		lookup_remove(&lookup, hash_of(11), &numbers[11]);
	}
	size = lookup.size;
	assert_true(size < 100);
	for (uint32_t i = 0; i < 10; i++)
		assert_ptr_equal(when_found(&lookup, i), &numbers[i]);
	lookup_fini(&lookup);
}

static void a_walk_meets_each_item_once_and_may_remove_it(void **state)
{
	static uint8_t met[NUMBERS];
	struct lookup lookup = given_numbers();
	uint32_t position = 0;
	const uint32_t *item;

	(void)state;
	memset(met, 0, sizeof(met));
	while ((item = lookup_next(&lookup, &position))) {
		met[*item]++;
		lookup_remove(&lookup, hash_of(*item), item);
	}
	for (uint32_t i = 0; i < NUMBERS; i++)
		assert_int_equal(met[i], 1);
	assert_int_equal(lookup.count, 0);
	lookup_fini(&lookup);
}

static void hashes_of_like_keys_differ_in_their_low_bits(void **state)
{
	uint32_t seen[256] = {};

	(void)state;
	for (uint32_t i = 0; i < 256 * 16; i++)
		seen[lookup_hash(&i, sizeof(i)) % 256]++;
	for (size_t i = 0; i < 256; i++)
		assert_between(seen[i], 1, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_table_has_nothing),
		cmocka_unit_test(what_is_added_is_found),
		cmocka_unit_test(what_is_removed_is_gone_and_hides_nothing),
		cmocka_unit_test(coming_and_going_does_not_make_it_larger),
		cmocka_unit_test(a_walk_meets_each_item_once_and_may_remove_it),
		cmocka_unit_test(hashes_of_like_keys_differ_in_their_low_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
