/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A hash table of pointers, stored with their hashes, 16 to 32 bytes per item. The caller compares
 * keys, because it knows where they are. A zeroed table is empty.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lookup {
	void **items;     /* NULL: never used */
	uint32_t *hashes; /* of the items; in the same block of memory */
	uint32_t size;    /* a power of two, or 0 */
	uint32_t count;
	uint32_t used; /* including the marks of removed items */
};

uint32_t lookup_hash(const void *bytes, size_t size);

/* True if the item has the key. */
typedef bool (*lookup_match_fn)(const void *item, const void *key);

/* The item, or NULL. */
void *lookup_find(const struct lookup *lookup, uint32_t hash, lookup_match_fn match,
		  const void *key);

/* Adds an item, which must not be in the table. Returns 0 or -ENOMEM. */
int lookup_add(struct lookup *lookup, uint32_t hash, void *item);

/* Removes an item, which must be in the table. */
void lookup_remove(struct lookup *lookup, uint32_t hash, const void *item);

/*
 * Returns the item at `*position` or the next one after it, and moves the position on; NULL: there
 * are no more. Start at 0. Items already returned may be removed during the walk, but none added.
 */
void *lookup_next(const struct lookup *lookup, uint32_t *position);

/* Frees the table; the items are the caller's. */
void lookup_fini(struct lookup *lookup);
