/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/json_arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define ARENA_SIZE (256UL << 10)
#define ALIGNMENT  16

/* One per process, because cJSON's allocation hooks are global. */
static struct {
	char *bytes;
	size_t used;
	bool is_open;       /* a tree is being parsed */
	bool has_overflown; /* some of the tree is on the heap */
} arena;

static void *arena_alloc(size_t size)
{
	size_t begin = arena.used;

	if (!arena.is_open)
		return malloc(size);
	if (size > ARENA_SIZE - begin) {
		arena.has_overflown = true;
		return malloc(size);
	}
	arena.used = (begin + size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	return arena.bytes + begin;
}

static void arena_free(void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)arena.bytes;

	if (!arena.bytes || offset >= ARENA_SIZE)
		free(ptr);
}

static bool arena_open(void)
{
	cJSON_Hooks hooks = {.malloc_fn = arena_alloc, .free_fn = arena_free};

	if (!arena.bytes) {
		arena.bytes = malloc(ARENA_SIZE);
		if (!arena.bytes)
			return false;
		cJSON_InitHooks(&hooks);
	}
	arena.used = 0;
	arena.has_overflown = false;
	arena.is_open = true;
	return true;
}

cJSON *json_arena_parse(const char *text, size_t size)
{
	cJSON *tree = arena_open() ? cJSON_ParseWithLength(text, size) : NULL;

	arena.is_open = false;
	return tree;
}

void json_arena_release(cJSON *tree)
{
	if (tree && arena.has_overflown)
		cJSON_Delete(tree);
}
