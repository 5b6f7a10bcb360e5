/* SPDX-License-Identifier: BSD-2-Clause */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "decode/json_arena.h"

static cJSON *read_text(const char *text)
{
	return json_arena_parse(text, strlen(text));
}

static void a_tree_is_read_and_left_and_the_next_one_too(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		cJSON *tree = read_text("{\"kind\":\"Service\",\"ports\":[80,443]}");

		assert_non_null(tree);
		assert_string_equal(
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "kind")),
			"Service");
		json_arena_release(tree);
	}
}

static void what_is_no_json_gives_no_tree(void **state)
{
	(void)state;
	assert_null(read_text("{\"kind\":"));
	json_arena_release(NULL);
	json_arena_release(read_text("{}"));
}

/* A megabyte of nodes: LeakSanitizer sees to it that they go. */
static void a_tree_that_does_not_fit_comes_from_the_heap(void **state)
{
	const int count = 10000;
	char *text = malloc((size_t)count * 16 + 16), *at = text;
	cJSON *tree;

	(void)state;
	assert_non_null(text);
	at += sprintf(at, "[");
	for (int i = 0; i < count; i++)
		at += sprintf(at, "%s\"item-%05d\"", i ? "," : "", i);
	(void)sprintf(at, "]");
	tree = read_text(text);
	free(text);
	assert_int_equal(cJSON_GetArraySize(tree), count);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(tree, count - 1)),
			    "item-09999");
	json_arena_release(tree);
	json_arena_release(read_text("[]"));
}

static void a_large_text_that_is_no_json_leaves_nothing(void **state)
{
	const size_t size = 1U << 20;
	char *text = malloc(size + 1);

	(void)state;
	assert_non_null(text);
	memset(text, '[', size);
	for (size_t i = 0; i + 4 <= size; i += 4)
		memcpy(text + i, i ? ",\"a\"" : "[\"a\"", 4);
	text[size] = '\0';
	assert_null(read_text(text));
	free(text);
}

static void other_trees_are_as_ever_meanwhile(void **state)
{
	cJSON *tree = read_text("{\"a\":1}"), *other = cJSON_Parse("{\"b\":[1,2,3]}");
	char *printed = cJSON_PrintUnformatted(other);

	(void)state;
	json_arena_release(tree);
	json_arena_release(read_text("[1,2,3,4,5,6]"));
	assert_string_equal(printed, "{\"b\":[1,2,3]}");
	free(printed);
	cJSON_Delete(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_is_read_and_left_and_the_next_one_too),
		cmocka_unit_test(what_is_no_json_gives_no_tree),
		cmocka_unit_test(a_tree_that_does_not_fit_comes_from_the_heap),
		cmocka_unit_test(a_large_text_that_is_no_json_leaves_nothing),
		cmocka_unit_test(other_trees_are_as_ever_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
