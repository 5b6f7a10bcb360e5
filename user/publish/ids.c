/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/ids.h"

#include <errno.h>
#include <stdlib.h>

int id_pool_init(struct id_pool *pool, uint32_t max)
{
	*pool = (struct id_pool){.max = max, .next_fresh = 1};
	pool->freed = calloc(max, sizeof(*pool->freed));
	pool->taken = calloc(max / 8 + 1, 1);
	if (!pool->freed || !pool->taken) {
		id_pool_fini(pool);
		return -ENOMEM;
	}
	return 0;
}

void id_pool_fini(struct id_pool *pool)
{
	free(pool->freed);
	free(pool->taken);
	*pool = (struct id_pool){};
}

static bool is_taken(const struct id_pool *pool, uint32_t id)
{
	return pool->taken[id / 8] & (1U << id % 8);
}

static void mark(struct id_pool *pool, uint32_t id)
{
	pool->taken[id / 8] |= (uint8_t)(1U << id % 8);
}

uint32_t id_pool_take(struct id_pool *pool)
{
	uint32_t id;

	/* Ids that an earlier run had may lie among the fresh ones. */
	while (pool->next_fresh < pool->max && is_taken(pool, pool->next_fresh))
		pool->next_fresh++;
	if (pool->next_fresh < pool->max) {
		id = pool->next_fresh++;
	} else if (pool->freed_count) {
		id = pool->freed[pool->freed_first];
		pool->freed_first = (pool->freed_first + 1) % pool->max;
		pool->freed_count--;
	} else {
		return 0;
	}
	mark(pool, id);
	return id;
}

bool id_pool_reserve(struct id_pool *pool, uint32_t id)
{
	if (!id || id >= pool->max || is_taken(pool, id))
		return false;
	mark(pool, id);
	return true;
}

void id_pool_give(struct id_pool *pool, uint32_t id)
{
	pool->taken[id / 8] &= (uint8_t)~(1U << id % 8);
	/* One that lies ahead is fresh again; it need not be remembered. */
	if (id >= pool->next_fresh)
		return;
	pool->freed[(pool->freed_first + pool->freed_count) % pool->max] = id;
	pool->freed_count++;
}

uint32_t id_pool_free_count(const struct id_pool *pool)
{
	uint32_t count = pool->freed_count;

	for (uint32_t id = pool->next_fresh; id < pool->max; id++)
		count += !is_taken(pool, id);
	return count;
}

int id_index_init(struct id_index *index, uint32_t max)
{
	uint32_t buckets = 16;

	while (buckets < max)
		buckets *= 2;
	*index = (struct id_index){.mask = buckets - 1};
	index->heads = calloc(buckets, sizeof(*index->heads));
	index->next = calloc(max, sizeof(*index->next));
	if (!index->heads || !index->next) {
		id_index_fini(index);
		return -ENOMEM;
	}
	return 0;
}

void id_index_fini(struct id_index *index)
{
	free(index->heads);
	free(index->next);
	*index = (struct id_index){};
}

void id_index_add(struct id_index *index, uint32_t hash, uint32_t id)
{
	uint32_t *head = &index->heads[hash & index->mask];

	index->next[id] = *head;
	*head = id;
}

void id_index_remove(struct id_index *index, uint32_t hash, uint32_t id)
{
	uint32_t *link = &index->heads[hash & index->mask];

	while (*link && *link != id)
		link = &index->next[*link];
	if (*link)
		*link = index->next[id];
}
