/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Retired entries are reused only after a grace period that no running program outlives and, where
 * flows can still refer to them, after those flows have ended.
 */

#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "publish/publisher_parts.h"

uint64_t now_monotonic_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

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

static struct retired queue_take(struct retired_queue *queue)
{
	struct retired item = queue->items[queue->first];

	queue->first = (queue->first + 1) % queue->room;
	queue->count--;
	return item;
}

void retire(struct publisher *publisher, enum retired_kind kind, uint32_t id, uint32_t count)
{
	const struct retired item = {
		.kind = kind,
		.id = id,
		.count = count,
		.ready_ns = now_monotonic_ns() + GRACE_NS,
	};

	queue_add(&publisher->grace, &item);
}

void retire_when_idle(struct publisher *publisher, enum retired_kind kind, uint32_t id,
		      uint32_t vip)
{
	const struct retired item = {
		.kind = kind,
		.id = id,
		.vip = vip,
		.ready_ns = now_monotonic_ns() + GRACE_NS,
	};

	if (!publisher->waiting.count)
		publisher->waiting_ns = item.ready_ns;
	queue_add(&publisher->waiting, &item);
}

/* True if the policy of the service port has changed again, so that another grace period runs. */
static bool queue_has_list(const struct retired_queue *queue, uint32_t service)
{
	for (uint32_t i = 0; i < queue->count; i++) {
		const struct retired *item = &queue->items[(queue->first + i) % queue->room];

		if (item->kind == RETIRED_LIST && item->id == service)
			return true;
	}
	return false;
}

void service_id_release(struct publisher *publisher, uint32_t id)
{
	if (id && !--publisher->service_uses[id])
		id_pool_free(&publisher->service_ids, id);
}

static void item_free(struct publisher *publisher, const struct retired *item)
{
	uint32_t freed = 0;

	switch (item->kind) {
	case RETIRED_SLOTS:
		buddy_free(&publisher->free_slots, item->id, item->count);
		freed = 1U << FULL_SLOTS;
		break;
	case RETIRED_LIST:
		if (!queue_has_list(&publisher->grace, item->id))
			list_empty_unused(publisher, item->id);
		break;
	case RETIRED_BACKEND:
		id_pool_free(&publisher->backend_ids, item->id);
		freed = 1U << FULL_BACKENDS;
		break;
	case RETIRED_SERVICE:
		service_id_release(publisher, item->id);
		freed = 1U << FULL_SERVICES | 1U << FULL_FRONTENDS;
		break;
	case RETIRED_ADDRESS:
		id_pool_free(&publisher->address_ids, item->id);
		freed = 1U << FULL_ADDRESSES;
		break;
	}
	publisher->has_room |= (publisher->wanted & freed) != 0;
}

static void service_free(struct publisher *publisher, const struct retired *item)
{
	if (item->vip) {
		publisher->address_records[item->vip].retired--;
		(void)address_settle(publisher, item->vip);
	}
	item_free(publisher, item);
}

/*
 * Frees a use of a service port's id when no flow of its VIP refers to it any more. `used` marks
 * the ids that established flows refer to; NULL: there was no survey.
 */
static bool service_try_free(struct publisher *publisher, const struct retired *item,
			     const uint8_t *used, uint64_t now_ns)
{
	if (item->vip && address_has_flows(publisher, item->vip, now_ns) &&
	    (!used || used[item->id] || now_ns - item->ready_ns < SURVEY_NS))
		return false;
	service_free(publisher, item);
	return true;
}

static bool service_ids_are_scarce(const struct publisher *publisher)
{
	const struct id_pool *ids = &publisher->service_ids;
	uint32_t taken = ids->next_fresh - 1 - ids->freed_count;

	return taken > ids->max / 4 * 3;
}

/*
 * Surveys which service ports established flows refer to, if ids are scarce and the last survey is
 * long past; NULL: there is none. The caller frees it.
 */
static uint8_t *waiting_survey(struct publisher *publisher, uint64_t now_ns)
{
	uint8_t *used;

	if (!service_ids_are_scarce(publisher) ||
	    (publisher->survey_ns && now_ns - publisher->survey_ns < SURVEY_NS))
		return NULL;
	publisher->survey_ns = now_ns;
	used = calloc(publisher->maps.services_max, sizeof(*used));
	if (used && survey_services(publisher, used)) {
		free(used);
		used = NULL;
	}
	return used;
}

/* Checks once each entry that waits for its flows to end. */
static void waiting_look(struct publisher *publisher, uint64_t now_ns)
{
	auto_cleanup(cleanup_free) uint8_t *used = waiting_survey(publisher, now_ns);

	for (uint32_t left = publisher->waiting.count; left; left--) {
		struct retired item = queue_take(&publisher->waiting);
		bool is_done = false;

		if (item.ready_ns <= now_ns)
			is_done = item.kind == RETIRED_BACKEND
					  ? backend_try_free(publisher, item.id, now_ns)
					  : service_try_free(publisher, &item, used, now_ns);
		if (!is_done)
			queue_add(&publisher->waiting, &item);
	}
	publisher->waiting_ns = now_ns + (publisher->waiting.count ? FLOWS_CHECK_NS : 0);
}

uint64_t publisher_reclaim(struct publisher *publisher, uint64_t now_ns)
{
	uint64_t next_ns = UINT64_MAX;

	if (publisher->waiting.count && publisher->waiting_ns <= now_ns)
		waiting_look(publisher, now_ns);
	while (publisher->grace.count &&
	       publisher->grace.items[publisher->grace.first].ready_ns <= now_ns) {
		struct retired item = queue_take(&publisher->grace);

		item_free(publisher, &item);
	}
	if (publisher->grace.count)
		next_ns = publisher->grace.items[publisher->grace.first].ready_ns;
	if (publisher->waiting.count && publisher->waiting_ns < next_ns)
		next_ns = publisher->waiting_ns;
	if (next_ns == UINT64_MAX)
		return 0;
	return next_ns <= now_ns ? 1 : (next_ns - now_ns) / NSEC_PER_MSEC + 1;
}
