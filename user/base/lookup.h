/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Finds things by a hash of their key: a table of pointers with their hashes beside them, 16 to 32
 * bytes a thing. The caller compares keys, for it knows where they are. A zeroed table is empty.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lookup {
	void **items;     /* NULL: never used */
	uint32_t *hashes; /* of the items; in the same block of memory */
	uint32_t size;    /* a power of two, or 0 */
	uint32_t count;
	uint32_t used; /* with those that are gone */
};

uint32_t lookup_hash(const void *bytes, size_t size);

/* True if the item has the key. */
typedef bool (*lookup_match_fn)(const void *item, const void *key);

/* The item, or NULL. */
void *lookup_find(const struct lookup *lookup, uint32_t hash, lookup_match_fn match,
		  const void *key);

/* Adds an item that is not there yet. Returns 0 or -ENOMEM. */
int lookup_add(struct lookup *lookup, uint32_t hash, void *item);

/* Removes an item that is there. */
void lookup_remove(struct lookup *lookup, uint32_t hash, const void *item);

/*
 * The item at `*position` or the next behind it, and moves the position on; NULL: there is none.
 * Begins with 0. What was returned may be removed on the way, but nothing added.
 */
void *lookup_next(const struct lookup *lookup, uint32_t *position);

/* Frees the table; the items are the caller's. */
void lookup_fini(struct lookup *lookup);
