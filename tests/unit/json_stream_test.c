/* SPDX-License-Identifier: BSD-2-Clause */

/* What the server sends, cut into objects however it arrives. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "decode/json_stream.h"

struct seen {
	char *objects[512];
	size_t count;
	int answer;
};

static int on_object(char *text, size_t size, void *context)
{
	struct seen *seen = context;

	assert_int_equal(strlen(text), size);
	assert_true(seen->count < sizeof(seen->objects) / sizeof(seen->objects[0]));
	seen->objects[seen->count++] = strdup(text);
	return seen->answer;
}

static void seen_fini(struct seen *seen)
{
	for (size_t i = 0; i < seen->count; i++)
		free(seen->objects[i]);
	*seen = (struct seen){};
}

/* Feeds `text` in pieces of `step` bytes; each in memory of its own, so that a byte read too far is
 * found. */
static int feed(struct json_stream *stream, const char *text, size_t size, size_t step)
{
	int err = 0;

	for (size_t at = 0; !err && at < size; at += step) {
		size_t len = size - at < step ? size - at : step;
		char *piece = malloc(len);

		assert_non_null(piece);
		memcpy(piece, text + at, len);
		err = json_stream_feed(stream, piece, len);
		free(piece);
	}
	return err;
}

static const char list[] =
	"{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\","
	"\"items\":[1,{}]},\"items\":[ {\"a\":\"]}\\\"{\"} ,\n{\"b\":{\"items\":[{}]}},{}],\"x\":null}\n";

static void a_list_is_given_item_by_item_whatever_the_pieces(void **state)
{
	(void)state;
	for (size_t step = 1; step < sizeof(list); step++) {
		struct json_stream stream;
		struct seen seen = {};

		json_stream_init(&stream, JSON_LIST, on_object, &seen);
		assert_int_equal(feed(&stream, list, sizeof(list) - 1, step), 0);
		assert_true(json_stream_is_complete(&stream));
		assert_int_equal(seen.count, 3);
		assert_string_equal(seen.objects[0], "{\"a\":\"]}\\\"{\"}");
		assert_string_equal(seen.objects[1], "{\"b\":{\"items\":[{}]}}");
		assert_string_equal(seen.objects[2], "{}");
		assert_string_equal(
			json_stream_head(&stream),
			"{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{"
			"\"resourceVersion\":\"7\",\"items\":[1,{}]},\"items\":[],\"x\":null}\n");
		seen_fini(&seen);
		json_stream_fini(&stream);
	}
}

static void events_are_given_one_by_one_and_managed_fields_are_left_out(void **state)
{
	static const char text[] =
		"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":[{\"a\":[1,\"},\"]},2],"
		"\"name\":\"x\"}}}\n{\"o\":{\"m\":{\"n\":1,\"managedFields\":{}}}}{\"managedFields\":"
		"\"managedFields\"}\n";

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct json_stream stream;
		struct seen seen = {};

		json_stream_init(&stream, JSON_EVENTS, on_object, &seen);
		assert_int_equal(feed(&stream, text, sizeof(text) - 1, step), 0);
		assert_true(json_stream_is_complete(&stream));
		assert_int_equal(seen.count, 3);
		assert_string_equal(seen.objects[0],
				    "{\"type\":\"ADDED\",\"object\":{\"metadata\":{"
				    "\"managedFields\":null,\"name\":\"x\"}}}");
		assert_string_equal(seen.objects[1],
				    "{\"o\":{\"m\":{\"n\":1,\"managedFields\":null}}}");
		seen_fini(&seen);
		json_stream_fini(&stream);
	}
}

static void what_is_cut_off_is_not_complete(void **state)
{
	(void)state;
	for (size_t size = 1; size < sizeof(list) - 3; size++) {
		struct json_stream stream;
		struct seen seen = {};

		json_stream_init(&stream, JSON_LIST, on_object, &seen);
		assert_int_equal(feed(&stream, list, size, size), 0);
		assert_false(json_stream_is_complete(&stream));
		seen_fini(&seen);
		json_stream_fini(&stream);
	}
}

static void what_is_no_json_is_refused(void **state)
{
	static const char *const texts[] = {"<html>",
					    "[1]",
					    "}",
					    "\"a\"",
					    "1",
					    "{}x",
					    ",",
					    "null",
					    "{\"a\":{}{",
					    "{\"a\":\"\" \"b\"",
					    "{\"a\":{}\n[1]}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_stream stream;
		struct seen seen = {};

		json_stream_init(&stream, JSON_EVENTS, on_object, &seen);
		assert_int_equal(feed(&stream, texts[i], strlen(texts[i]), 1), -EINVAL);
		seen_fini(&seen);
		json_stream_fini(&stream);
	}
}

static void nothing_may_follow_a_list_and_only_objects_are_items(void **state)
{
	static const char *const texts[] = {"{\"items\":[]}{", "{\"items\":[[]]}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_stream stream;
		struct seen seen = {};

		json_stream_init(&stream, JSON_LIST, on_object, &seen);
		assert_int_equal(feed(&stream, texts[i], strlen(texts[i]), 3), -EINVAL);
		seen_fini(&seen);
		json_stream_fini(&stream);
	}
}

static void what_the_receiver_says_ends_reading(void **state)
{
	struct json_stream stream;
	struct seen seen = {.answer = -ECANCELED};

	(void)state;
	json_stream_init(&stream, JSON_EVENTS, on_object, &seen);
	assert_int_equal(feed(&stream, "{}{}{}", 6, 6), -ECANCELED);
	assert_int_equal(seen.count, 1);
	seen_fini(&seen);
	json_stream_fini(&stream);
}

static void an_object_without_end_is_not_kept_for_ever(void **state)
{
	struct json_stream stream;
	struct seen seen = {};
	char chunk[65536];
	int err = 0;

	(void)state;
	memset(chunk, 'x', sizeof(chunk));
	json_stream_init(&stream, JSON_EVENTS, on_object, &seen);
	assert_int_equal(json_stream_feed(&stream, "{\"a\":\"", 6), 0);
	for (int i = 0; !err && i < 1024; i++)
		err = json_stream_feed(&stream, chunk, sizeof(chunk));
	assert_int_equal(err, -EFBIG);
	json_stream_fini(&stream);
}

static void file_is_read(const char *name, enum json_shape shape, size_t count)
{
	char path[256];
	struct json_stream stream;
	struct seen seen = {};
	char *text = NULL;
	size_t size = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "tests/fixtures/kube/%s", name);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_true(getdelim(&text, &size, '\0', file) > 0);
	(void)fclose(file);
	json_stream_init(&stream, shape, on_object, &seen);
	assert_int_equal(feed(&stream, text, strlen(text), 1000), 0);
	assert_true(json_stream_is_complete(&stream));
	assert_int_equal(seen.count, count);
	for (size_t i = 0; i < seen.count; i++) {
		cJSON *object = cJSON_Parse(seen.objects[i]);

		assert_non_null(object);
		assert_null(strstr(seen.objects[i], "f:metadata"));
		cJSON_Delete(object);
	}
	seen_fini(&seen);
	json_stream_fini(&stream);
	free(text);
}

static void what_a_server_sent_is_read(void **state)
{
	(void)state;
	file_is_read("services-list.json", JSON_LIST, 53);
	file_is_read("services-list-pretty.json", JSON_LIST, 6);
	file_is_read("watch-services.jsonl", JSON_EVENTS, 26);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_is_given_item_by_item_whatever_the_pieces),
		cmocka_unit_test(events_are_given_one_by_one_and_managed_fields_are_left_out),
		cmocka_unit_test(what_is_cut_off_is_not_complete),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(nothing_may_follow_a_list_and_only_objects_are_items),
		cmocka_unit_test(what_the_receiver_says_ends_reading),
		cmocka_unit_test(an_object_without_end_is_not_kept_for_ever),
		cmocka_unit_test(what_a_server_sent_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
