/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/json_room.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define ROOM_SIZE (256UL << 10)
#define ALIGNMENT 16

/* cJSON's hooks are the process's, so this is too. */
static struct {
	char *bytes;
	size_t used;
	bool is_open;       /* a tree is being read */
	bool has_overflown; /* some of it is on the heap */
} room;

static void *room_alloc(size_t size)
{
	size_t begin = room.used;

	if (!room.is_open)
		return malloc(size);
	if (size > ROOM_SIZE - begin) {
		room.has_overflown = true;
		return malloc(size);
	}
	room.used = (begin + size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	return room.bytes + begin;
}

static void room_dealloc(void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)room.bytes;

	if (!room.bytes || offset >= ROOM_SIZE)
		free(ptr);
}

static bool room_open(void)
{
	cJSON_Hooks hooks = {.malloc_fn = room_alloc, .free_fn = room_dealloc};

	if (!room.bytes) {
		room.bytes = malloc(ROOM_SIZE);
		if (!room.bytes)
			return false;
		cJSON_InitHooks(&hooks);
	}
	room.used = 0;
	room.has_overflown = false;
	room.is_open = true;
	return true;
}

cJSON *json_room_parse(const char *text, size_t size)
{
	cJSON *tree = room_open() ? cJSON_ParseWithLength(text, size) : NULL;

	room.is_open = false;
	return tree;
}

void json_room_leave(cJSON *tree)
{
	if (tree && room.has_overflown)
		cJSON_Delete(tree);
}
