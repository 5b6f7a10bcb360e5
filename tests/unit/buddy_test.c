/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "publish/bit_set.h"
#include "publish/buddy.h"

#define SIZE 1000 /* no power of two: 512 + 256 + 128 + 64 + 32 + 8 */

/* An allocator, and which places are somebody's. */
struct fixture {
	struct buddy buddy;
	uint8_t owner[SIZE];
};

static int setup(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	*state = &fixture;
	return buddy_init(&fixture.buddy, SIZE);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	buddy_fini(&fixture->buddy);
	return 0;
}

static void then_owned(struct fixture *fixture, uint32_t first, uint32_t count, uint8_t before,
		       uint8_t after)
{
	assert_true(first < SIZE && count <= SIZE - first);
	for (uint32_t i = first; i < first + count; i++) {
		assert_int_equal(fixture->owner[i], before);
		fixture->owner[i] = after;
	}
}

static uint32_t when_allocated(struct fixture *fixture, uint32_t count, uint8_t owner)
{
	uint32_t first;

	assert_int_equal(buddy_allocate(&fixture->buddy, count, &first), 0);
	then_owned(fixture, first, count, 0, owner);
	return first;
}

static void when_freed(struct fixture *fixture, uint32_t first, uint32_t count, uint8_t owner)
{
	buddy_free(&fixture->buddy, first, count);
	then_owned(fixture, first, count, owner, 0);
}

/* The largest range that there can be is there: everything that was freed has joined again. */
static void then_all_free(struct fixture *fixture)
{
	uint32_t first;

	assert_int_equal(buddy_allocate(&fixture->buddy, 512, &first), 0);
	assert_int_equal(first, 0);
	buddy_free(&fixture->buddy, first, 512);
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(fixture->owner[i], 0);
}

static void test_single_places(void **state)
{
	struct fixture *fixture = *state;
	uint32_t first;

	for (uint32_t i = 0; i < SIZE; i++)
		(void)when_allocated(fixture, 1, 1);
	assert_int_equal(buddy_allocate(&fixture->buddy, 1, &first), -ENOSPC);
	for (uint32_t i = 0; i < SIZE; i++)
		when_freed(fixture, i * 7 % SIZE, 1, 1);
	then_all_free(fixture);
}

static void test_too_much(void **state)
{
	struct fixture *fixture = *state;
	uint32_t first;

	assert_int_equal(buddy_allocate(&fixture->buddy, 513, &first), -ENOSPC);
	assert_int_equal(buddy_allocate(&fixture->buddy, UINT32_MAX, &first), -ENOSPC);
	assert_int_equal(when_allocated(fixture, 512, 1), 0);
	assert_int_equal(buddy_allocate(&fixture->buddy, 257, &first), -ENOSPC);
	assert_int_equal(when_allocated(fixture, 256, 2), 512);
}

static void test_holes_are_used(void **state)
{
	struct fixture *fixture = *state;
	uint32_t holes[3];

	for (int i = 0; i < 3; i++)
		holes[i] = when_allocated(fixture, 8, (uint8_t)(i + 1));
	when_freed(fixture, holes[1], 8, 2);

	assert_int_equal(when_allocated(fixture, 5, 4), holes[1]);
}

static void test_reserved_ranges(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(buddy_reserve(&fixture->buddy, 16, 10), 0);
	then_owned(fixture, 16, 16, 0, 1);
	assert_int_equal(buddy_reserve(&fixture->buddy, 992, 8), 0);
	then_owned(fixture, 992, 8, 0, 2);

	assert_int_equal(buddy_reserve(&fixture->buddy, 16, 10), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, 0, 32), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, 24, 2), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, 33, 2), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, SIZE, 1), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, 992, 32), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, UINT32_MAX, 1), -EBUSY);
	assert_int_equal(buddy_reserve(&fixture->buddy, 0, UINT32_MAX), -EBUSY);

	for (uint32_t i = 0; i < SIZE - 24; i++)
		(void)when_allocated(fixture, 1, 3);
}

#define ROUNDS 200000
#define OWNERS 60

/* Ranges of all lengths come and go; none ever overlaps another, and in the end all is one again.
 */
static void test_random(void **state)
{
	struct fixture *fixture = *state;
	uint32_t first[OWNERS] = {}, count[OWNERS] = {};
	uint64_t seed = 1;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t number, owner;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		number = (uint32_t)(seed >> 33);
		owner = number % OWNERS;
		if (count[owner]) {
			when_freed(fixture, first[owner], count[owner], (uint8_t)(owner + 1));
			count[owner] = 0;
		} else if (!buddy_allocate(&fixture->buddy, 1 + number / OWNERS % 40,
					   &first[owner])) {
			count[owner] = 1 + number / OWNERS % 40;
			then_owned(fixture, first[owner], count[owner], 0, (uint8_t)(owner + 1));
		}
	}
	for (uint32_t owner = 0; owner < OWNERS; owner++) {
		if (count[owner])
			when_freed(fixture, first[owner], count[owner], (uint8_t)(owner + 1));
	}
	then_all_free(fixture);
}

static void test_bits(void **state)
{
	static const uint32_t numbers[] = {0, 63, 64, 4095, 4096, 262143, 262144, 999999};
	struct bit_set bits;

	(void)state;
	assert_int_equal(bit_set_init(&bits, 1000000), 0);
	assert_int_equal(bit_set_first(&bits), BIT_SET_NONE);
	for (size_t i = sizeof(numbers) / sizeof(numbers[0]); i--;) {
		bit_set_add(&bits, numbers[i]);
		assert_int_equal(bit_set_first(&bits), numbers[i]);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		assert_int_equal(bit_set_first(&bits), numbers[i]);
		assert_true(bit_set_has(&bits, numbers[i]));
		bit_set_remove(&bits, numbers[i]);
		assert_false(bit_set_has(&bits, numbers[i]));
	}
	assert_int_equal(bit_set_first(&bits), BIT_SET_NONE);
	assert_false(bit_set_has(&bits, UINT32_MAX));
	bit_set_fini(&bits);
}

#define TEST(sentence, function) ((struct CMUnitTest){sentence, function, setup, teardown, NULL})

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("every place can be had, and all of them join again", test_single_places),
		TEST("a range that is too long is refused", test_too_much),
		TEST("a hole is filled before new land is broken", test_holes_are_used),
		TEST("ranges of an earlier run are kept from others", test_reserved_ranges),
		TEST("ranges that come and go at random never overlap", test_random),
		{"a set of numbers says its first member", test_bits, NULL, NULL, NULL},
	};

	return cmocka_run_group_tests_name("buddy", tests, NULL, NULL);
}
