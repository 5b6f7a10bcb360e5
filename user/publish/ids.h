/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Ids: numbers from 1 to max - 1 that name the entries of arrays, and an index that finds them by a
 * hash of what they stand for. Both touch memory only where ids are in use.
 */

#include <stdbool.h>
#include <stdint.h>

/*
 * Hands out ids that were never used first, then those unused longest: the later an id is reused,
 * the better.
 */
struct id_pool {
	uint32_t max;
	uint32_t next_fresh;
	uint32_t *freed; /* a ring */
	uint32_t freed_first, freed_count;
	uint8_t *taken; /* a bit each */
};

int id_pool_init(struct id_pool *pool, uint32_t max);
void id_pool_fini(struct id_pool *pool);

/* Returns an id that is in use from now on, or 0: none is left. */
uint32_t id_pool_alloc(struct id_pool *pool);

void id_pool_free(struct id_pool *pool, uint32_t id);
bool id_pool_has(const struct id_pool *pool, uint32_t id);

/* How many ids are in use. */
uint32_t id_pool_count(const struct id_pool *pool);

/*
 * Takes an id that an earlier run used; false if it is taken already or out of range. All
 * reservations come before other ids are taken, and end with id_pool_end_reserving: ids between the
 * reserved ones may have been in use a moment ago, so they come after the fresh ones.
 */
bool id_pool_reserve(struct id_pool *pool, uint32_t id);
void id_pool_end_reserving(struct id_pool *pool);

/* Finds ids by a hash of their key; the caller, who knows where the keys are, compares them. */
struct id_index {
	uint32_t max;
	uint32_t mask;
	uint32_t *heads;
	uint32_t *next; /* by id */
};

int id_index_init(struct id_index *index, uint32_t max);
void id_index_fini(struct id_index *index);
void id_index_add(struct id_index *index, uint32_t hash, uint32_t id);
void id_index_remove(struct id_index *index, uint32_t hash, uint32_t id);

static inline uint32_t id_index_first(const struct id_index *index, uint32_t hash)
{
	return index->heads[hash & index->mask];
}

static inline uint32_t id_index_next(const struct id_index *index, uint32_t id)
{
	return index->next[id];
}
