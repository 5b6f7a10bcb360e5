/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/retirement.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

/*
 * Retired entries wait at least this long, so that a busy agent waits once for many of them. It is
 * not the grace period itself, whose end the caller of publisher_reclaim guarantees.
 */
#define BATCH_DELAY_NS 2000000000ULL
/* How often entries that wait for their flows to end are checked. */
#define FLOWS_CHECK_NS 5000000000ULL

static bool queue_grow(struct retired_queue *queue)
{
	uint32_t room = queue->room ? queue->room * 2 : 256;
	struct retired *items = calloc(room, sizeof(*items));

	if (!items)
		return false;
	for (uint32_t i = 0; i < queue->count; i++)
		items[i] = queue->items[(queue->first + i) % queue->room];
	free(queue->items);
	queue->items = items;
	queue->first = 0;
	queue->room = room;
	return true;
}

static void queue_add(struct retired_queue *queue, const struct retired *item)
{
	/* Without memory the entry stays taken until the next start, which finds it unused. */
	if (queue->count == queue->room && !queue_grow(queue)) {
		log_warning(
			"no memory to remember a retired entry, it stays taken until a restart");
		return;
	}
	queue->items[(queue->first + queue->count++) % queue->room] = *item;
}

static struct retired queue_dequeue(struct retired_queue *queue)
{
	struct retired item = queue->items[queue->first];

	queue->first = (queue->first + 1) % queue->room;
	queue->count--;
	return item;
}

void retirement_fini(struct retirement *retirement)
{
	free(retirement->grace.items);
	free(retirement->waiting.items);
	*retirement = (struct retirement){};
}

void retire(struct retirement *retirement, enum retired_kind kind, uint32_t id, uint32_t count)
{
	const struct retired item = {
		.kind = kind,
		.id = id,
		.count = count,
		.ready_ns = clock_now_ns() + BATCH_DELAY_NS,
	};

	queue_add(&retirement->grace, &item);
}

void retire_when_idle(struct retirement *retirement, enum retired_kind kind, uint32_t id,
		      uint32_t vip)
{
	const struct retired item = {
		.kind = kind,
		.id = id,
		.vip = vip,
		.ready_ns = clock_now_ns() + BATCH_DELAY_NS,
	};

	if (!retirement->waiting.count)
		retirement->check_ns = item.ready_ns;
	queue_add(&retirement->waiting, &item);
}

bool retirement_dequeue(struct retirement *retirement, uint64_t now_ns, struct retired *ret_item)
{
	struct retired_queue *grace = &retirement->grace;

	if (!grace->count || grace->items[grace->first].ready_ns > now_ns)
		return false;
	*ret_item = queue_dequeue(grace);
	return true;
}

bool retirement_is_check_due(const struct retirement *retirement, uint64_t now_ns)
{
	return retirement->waiting.count && retirement->check_ns <= now_ns;
}

struct retired retirement_dequeue_waiting(struct retirement *retirement)
{
	return queue_dequeue(&retirement->waiting);
}

void retirement_requeue_waiting(struct retirement *retirement, const struct retired *item)
{
	queue_add(&retirement->waiting, item);
}

void retirement_end_check(struct retirement *retirement, uint64_t now_ns)
{
	retirement->check_ns = now_ns + (retirement->waiting.count ? FLOWS_CHECK_NS : 0);
}

uint64_t retirement_wait_ms(const struct retirement *retirement, uint64_t now_ns)
{
	const struct retired_queue *grace = &retirement->grace;
	uint64_t next_ns = UINT64_MAX;

	if (grace->count)
		next_ns = grace->items[grace->first].ready_ns;
	if (retirement->waiting.count && retirement->check_ns < next_ns)
		next_ns = retirement->check_ns;
	if (next_ns == UINT64_MAX)
		return 0;
	return next_ns <= now_ns ? 1 : (next_ns - now_ns) / NS_PER_MS + 1;
}
