/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "publish/ids.h"

#define MAX 6 /* ids 1 to 5 */

static int setup(void **state)
{
	static struct id_pool pool;

	*state = &pool;
	return id_pool_init(&pool, MAX);
}

static int teardown(void **state)
{
	id_pool_fini(*state);
	return 0;
}

/* The next ids are these; 0 ends them. */
static void then_takes(struct id_pool *pool, const uint32_t *expected)
{
	for (; *expected; expected++)
		assert_int_equal(id_pool_alloc(pool), *expected);
}

static void test_pool_gives_each_id_once(void **state)
{
	then_takes(*state, (const uint32_t[]){1, 2, 3, 4, 5, 0});
	assert_int_equal(id_pool_alloc(*state), 0);
}

static void test_pool_reuses_late(void **state)
{
	then_takes(*state, (const uint32_t[]){1, 2, 3, 0});
	id_pool_free(*state, 2);
	id_pool_free(*state, 1);

	then_takes(*state, (const uint32_t[]){4, 5, 2, 1, 0});
	assert_int_equal(id_pool_alloc(*state), 0);
}

static void test_pool_knows_what_is_taken(void **state)
{
	uint32_t id = id_pool_alloc(*state);

	assert_true(id_pool_has(*state, id));
	id_pool_free(*state, id);
	assert_false(id_pool_has(*state, id));
}

static void test_pool_refuses_what_is_no_id(void **state)
{
	assert_false(id_pool_reserve(*state, 0));
	assert_false(id_pool_reserve(*state, MAX));
	assert_false(id_pool_reserve(*state, UINT32_MAX));
	assert_true(id_pool_reserve(*state, MAX - 1));
	assert_false(id_pool_reserve(*state, MAX - 1));
}

static void test_pool_spares_gaps(void **state)
{
	assert_true(id_pool_reserve(*state, 2));
	assert_true(id_pool_reserve(*state, 4));
	id_pool_end_reserving(*state);

	then_takes(*state, (const uint32_t[]){5, 1, 3, 0});
	assert_int_equal(id_pool_alloc(*state), 0);
}

static void test_pool_forgets_a_reservation(void **state)
{
	assert_true(id_pool_reserve(*state, 2));
	assert_true(id_pool_reserve(*state, 3));
	id_pool_free(*state, 2);
	id_pool_end_reserving(*state);

	then_takes(*state, (const uint32_t[]){4, 5, 1, 2, 0});
	assert_int_equal(id_pool_alloc(*state), 0);
}

static void test_pool_goes_round(void **state)
{
	struct id_pool *pool = *state;

	for (int i = 0; i < 5; i++)
		assert_int_not_equal(id_pool_alloc(pool), 0);
	for (int round = 0; round < 100; round++) {
		id_pool_free(pool, 3);
		id_pool_free(pool, 1);
		then_takes(pool, (const uint32_t[]){3, 1, 0});
		assert_int_equal(id_pool_alloc(pool), 0);
	}
}

/* All ids that an index has for a hash, newest first. */
static void then_found(const struct id_index *index, uint32_t hash, const uint32_t *expected)
{
	uint32_t id = id_index_first(index, hash);

	for (; *expected; expected++) {
		assert_int_equal(id, *expected);
		id = id_index_next(index, id);
	}
	assert_int_equal(id, 0);
}

static void test_index_finds_by_hash(void **state)
{
	struct id_index index;

	(void)state;
	assert_int_equal(id_index_init(&index, 100), 0);
	id_index_add(&index, 7, 1);
	id_index_add(&index, 7, 2);
	id_index_add(&index, 8, 3);
	id_index_add(&index, 7, 4);
	then_found(&index, 7, (const uint32_t[]){4, 2, 1, 0});

	id_index_remove(&index, 7, 2);
	id_index_remove(&index, 8, 99);
	then_found(&index, 7, (const uint32_t[]){4, 1, 0});
	then_found(&index, 8, (const uint32_t[]){3, 0});

	id_index_remove(&index, 7, 4);
	id_index_remove(&index, 7, 1);
	then_found(&index, 7, (const uint32_t[]){0});
	id_index_fini(&index);
}

#define TEST(sentence, function) ((struct CMUnitTest){sentence, function, setup, teardown, NULL})

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a pool gives each id once, beginning with 1", test_pool_gives_each_id_once),
		TEST("a freed id comes after all fresh ones, the oldest first",
		     test_pool_reuses_late),
		TEST("a pool knows which ids are taken", test_pool_knows_what_is_taken),
		TEST("what is no id, or taken, cannot be reserved",
		     test_pool_refuses_what_is_no_id),
		TEST("ids between reserved ones come after the fresh ones", test_pool_spares_gaps),
		TEST("a reserved id that is given back is free", test_pool_forgets_a_reservation),
		TEST("a full pool lives from what is given back", test_pool_goes_round),
		{"an index finds all ids of a hash", test_index_finds_by_hash, NULL, NULL, NULL},
	};

	return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
