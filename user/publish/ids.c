/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/ids.h"

#include <errno.h>

#include "base/mapped_array.h"

int id_pool_init(struct id_pool *pool, uint32_t max)
{
	*pool = (struct id_pool){.max = max, .next_fresh = 1};
	pool->freed = mapped_array_new(max, sizeof(*pool->freed));
	pool->taken = mapped_array_new(max / 8 + 1, 1);
	if (!pool->freed || !pool->taken) {
		id_pool_fini(pool);
		return -ENOMEM;
	}
	return 0;
}

void id_pool_fini(struct id_pool *pool)
{
	mapped_array_free(pool->freed, pool->max, sizeof(*pool->freed));
	mapped_array_free(pool->taken, pool->max / 8 + 1, 1);
	*pool = (struct id_pool){};
}

bool id_pool_has(const struct id_pool *pool, uint32_t id)
{
	return pool->taken[id / 8] & (1U << id % 8);
}

uint32_t id_pool_count(const struct id_pool *pool)
{
	return pool->next_fresh - 1 - pool->freed_count;
}

static void id_mark(struct id_pool *pool, uint32_t id)
{
	pool->taken[id / 8] |= (uint8_t)(1U << id % 8);
}

static void id_append_freed(struct id_pool *pool, uint32_t id)
{
	pool->freed[(pool->freed_first + pool->freed_count) % pool->max] = id;
	pool->freed_count++;
}

uint32_t id_pool_alloc(struct id_pool *pool)
{
	uint32_t id;

	if (pool->next_fresh < pool->max) {
		id = pool->next_fresh++;
	} else if (pool->freed_count) {
		id = pool->freed[pool->freed_first];
		pool->freed_first = (pool->freed_first + 1) % pool->max;
		pool->freed_count--;
	} else {
		return 0;
	}
	id_mark(pool, id);
	return id;
}

void id_pool_free(struct id_pool *pool, uint32_t id)
{
	pool->taken[id / 8] &= (uint8_t)(~(1U << id % 8));
	/* A reserved id that is given back early is left to id_pool_end_reserving. */
	if (id < pool->next_fresh)
		id_append_freed(pool, id);
}

bool id_pool_reserve(struct id_pool *pool, uint32_t id)
{
	if (!id || id >= pool->max || id_pool_has(pool, id))
		return false;
	id_mark(pool, id);
	return true;
}

void id_pool_end_reserving(struct id_pool *pool)
{
	uint32_t end = pool->max, id;

	while (end > pool->next_fresh && !id_pool_has(pool, end - 1))
		end--;
	for (id = pool->next_fresh; id < end; id++) {
		if (!id_pool_has(pool, id))
			id_append_freed(pool, id);
	}
	pool->next_fresh = end;
}

int id_index_init(struct id_index *index, uint32_t max)
{
	uint32_t buckets = 16;

	/*
	 * Four to eight ids a bucket when all are in use. Buckets in use are scattered, so all
	 * their memory is touched from the start.
	 */
	while (buckets <= max / 8)
		buckets *= 2;
	*index = (struct id_index){.max = max, .mask = buckets - 1};
	index->heads = mapped_array_new(buckets, sizeof(*index->heads));
	index->next = mapped_array_new(max, sizeof(*index->next));
	if (!index->heads || !index->next) {
		id_index_fini(index);
		return -ENOMEM;
	}
	return 0;
}

void id_index_fini(struct id_index *index)
{
	mapped_array_free(index->heads, index->mask + 1UL, sizeof(*index->heads));
	mapped_array_free(index->next, index->max, sizeof(*index->next));
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
