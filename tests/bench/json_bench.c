/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What reading the lists costs by itself: each file parsed as one tree by cJSON, and then cut into
 * objects and parsed one by one, as the agent does. Neither decodes what is parsed. Milliseconds of
 * one run; bytes are in memory before the clock starts.
 */

#include <cjson/cJSON.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "decode/json_arena.h"
#include "decode/json_stream.h"
#include "base/file.h"

#define SIZE_MAX_OF_LIST (1UL << 30)
#define PIECE            (64UL << 10) /* what one read of a connection brings */

static double now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int object_parse(char *text, size_t size, void *context)
{
	cJSON *tree = json_arena_parse(text, size);
	size_t *count = context;

	if (!tree)
		return -1;
	json_arena_release(tree);
	(*count)++;
	return 0;
}

static double whole(const struct file_content *content)
{
	double begun = now_ms(), took;
	cJSON *tree = cJSON_ParseWithLength(content->text, content->size);

	took = now_ms() - begun;
	if (!tree)
		took = -1;
	cJSON_Delete(tree);
	/* What is freed is put in order now, not in the other measurement. */
	(void)malloc_trim(0);
	return took;
}

static double by_object(const struct file_content *content, size_t *ret_count)
{
	struct json_stream stream;
	double begun = now_ms(), took;
	int err = 0;

	json_stream_init(&stream, JSON_LIST, object_parse, ret_count);
	for (size_t at = 0; !err && at < content->size; at += PIECE) {
		size_t left = content->size - at;

		err = json_stream_feed(&stream, content->text + at, left < PIECE ? left : PIECE);
	}
	took = now_ms() - begun;
	json_stream_fini(&stream);
	return err ? -1 : took;
}

int main(int argc, char **argv)
{
	double whole_ms = 0, by_object_ms = 0;
	size_t count = 0, bytes = 0;

	for (int i = 1; i < argc; i++) {
		struct file_content content;
		double one, other;

		if (file_read(argv[i], SIZE_MAX_OF_LIST, &content)) {
			fprintf(stderr, "json_bench: cannot read %s\n", argv[i]);
			return EXIT_FAILURE;
		}
		one = whole(&content);
		other = by_object(&content, &count);
		if (one < 0 || other < 0) {
			fprintf(stderr, "json_bench: %s is no list\n", argv[i]);
			return EXIT_FAILURE;
		}
		whole_ms += one;
		by_object_ms += other;
		bytes += content.size;
		file_content_fini(&content);
	}
	printf("{\"objects\": %zu, \"bytes\": %zu, \"whole_ms\": %.1f, \"by_object_ms\": %.1f}\n",
	       count, bytes, whole_ms, by_object_ms);
	return EXIT_SUCCESS;
}
