/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/shared_name.h"

#include <stdlib.h>
#include <string.h>

#include "base/lookup.h"

struct name {
	uint32_t id;
	uint32_t references;
	char text[];
};

/* A number in use holds its name, a free one the next free number. */
union number {
	struct name *name;
	uint32_t next_free;
};

static struct {
	struct lookup by_text;
	union number *numbers; /* by id; 0 is no name */
	uint32_t count, room;
	uint32_t first_free;
} names;

static bool shared_name_is(const void *name, const void *text)
{
	return !strcmp(((const struct name *)name)->text, text);
}

/* The first free number, which stays free; 0: no memory, or too many names. */
static uint32_t number_first_free(void)
{
	if (names.first_free)
		return names.first_free;
	if (names.count + 1 >= names.room) {
		uint32_t room = names.room ? names.room * 2 : 64;
		void *numbers = room > 1U << SHARED_NAME_BITS
					? NULL
					: realloc(names.numbers, room * sizeof(*names.numbers));

		if (!numbers)
			return 0;
		names.numbers = numbers;
		names.room = room;
	}
	names.first_free = ++names.count;
	names.numbers[names.first_free].next_free = 0;
	return names.first_free;
}

static uint32_t shared_name_add(const char *text, uint32_t hash)
{
	uint32_t id = number_first_free();
	size_t size = strlen(text) + 1;
	struct name *name = id ? malloc(sizeof(*name) + size) : NULL;

	if (!name)
		return 0;
	*name = (struct name){.id = id, .references = 1};
	memcpy(name->text, text, size);
	if (lookup_add(&names.by_text, hash, name)) {
		free(name);
		return 0;
	}
	names.first_free = names.numbers[id].next_free;
	names.numbers[id].name = name;
	return id;
}

uint32_t shared_name_acquire(const char *text)
{
	uint32_t hash = lookup_hash(text, strlen(text));
	struct name *name = lookup_find(&names.by_text, hash, shared_name_is, text);

	if (!name)
		return shared_name_add(text, hash);
	name->references++;
	return name->id;
}

const char *shared_name_text(uint32_t id)
{
	return id ? names.numbers[id].name->text : NULL;
}

void shared_name_release(uint32_t id)
{
	struct name *name = id ? names.numbers[id].name : NULL;

	if (!name || --name->references)
		return;
	lookup_remove(&names.by_text, lookup_hash(name->text, strlen(name->text)), name);
	free(name);
	names.numbers[id].next_free = names.first_free;
	names.first_free = id;
}
