/* SPDX-License-Identifier: BSD-2-Clause */

/* Open addressing with linear probing; a removed item leaves a mark until the table is rebuilt. */
#include "base/lookup.h"

#include <errno.h>
#include <stdlib.h>

#define SIZE_MIN 16U

/* Marks the place of a removed item, so that a probe continues to those after it. */
static char gone;

uint32_t lookup_hash(const void *bytes, size_t size)
{
	const unsigned char *byte = bytes;
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ byte[i]) * 16777619U;
	/* The table uses the low bits, which so far depend on few bits of the key. */
	hash ^= hash >> 15;
	hash *= 0x85ebca6bU;
	return hash ^ hash >> 13;
}

void *lookup_find(const struct lookup *lookup, uint32_t hash, lookup_match_fn match,
		  const void *key)
{
	uint32_t mask = lookup->size - 1;

	if (!lookup->count)
		return NULL;
	for (uint32_t i = hash & mask; lookup->items[i]; i = (i + 1) & mask) {
		if (lookup->hashes[i] == hash && lookup->items[i] != &gone &&
		    match(lookup->items[i], key))
			return lookup->items[i];
	}
	return NULL;
}

/* The table must have room, and must not contain the item. */
static void item_put(struct lookup *lookup, uint32_t hash, void *item)
{
	uint32_t i = hash & (lookup->size - 1);

	while (lookup->items[i])
		i = (i + 1) & (lookup->size - 1);
	lookup->items[i] = item;
	lookup->hashes[i] = hash;
	lookup->count++;
	lookup->used++;
}

/* Rebuilds the table, with at least half of it free. */
static int lookup_remake(struct lookup *lookup)
{
	struct lookup next = {.size = SIZE_MIN};
	uint32_t position = 0;
	void *item;

	while (next.size / 2 < lookup->count + 1)
		next.size *= 2;
	next.items = calloc(next.size, sizeof(*next.items) + sizeof(*next.hashes));
	if (!next.items)
		return -ENOMEM;
	next.hashes = (uint32_t *)(next.items + next.size);
	while ((item = lookup_next(lookup, &position)))
		item_put(&next, lookup->hashes[position - 1], item);
	free(lookup->items);
	*lookup = next;
	return 0;
}

int lookup_add(struct lookup *lookup, uint32_t hash, void *item)
{
	/* At most three quarters of the places are in use. */
	if (lookup->used >= lookup->size / 4 * 3) {
		int err = lookup_remake(lookup);

		if (err)
			return err;
	}
	item_put(lookup, hash, item);
	return 0;
}

void lookup_remove(struct lookup *lookup, uint32_t hash, const void *item)
{
	uint32_t mask = lookup->size - 1, i = hash & mask;

	if (!lookup->count)
		return;
	while (lookup->items[i] && lookup->items[i] != item)
		i = (i + 1) & mask;
	if (!lookup->items[i])
		return;
	lookup->items[i] = &gone;
	lookup->count--;
}

void *lookup_next(const struct lookup *lookup, uint32_t *position)
{
	while (*position < lookup->size) {
		void *item = lookup->items[(*position)++];

		if (item && item != &gone)
			return item;
	}
	return NULL;
}

void lookup_fini(struct lookup *lookup)
{
	free(lookup->items);
	*lookup = (struct lookup){};
}
