/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Entries that are no longer in use. They are reused only after a grace period that no running
 * program outlives and, where flows can still refer to them, after those flows have ended. Only the
 * publisher, which knows all kinds, frees them (publisher_reclaim).
 */

#include <stdbool.h>
#include <stdint.h>

enum retired_kind {
	RETIRED_SLOTS,
	RETIRED_LIST, /* a list the service port stopped using, by the port's id */
	RETIRED_BACKEND,
	RETIRED_SERVICE, /* a service port, or one of its frontends */
	RETIRED_ADDRESS,
};

struct retired {
	enum retired_kind kind;
	uint32_t id; /* or the range's first */
	uint32_t count;
	uint32_t vip; /* RETIRED_SERVICE: address whose flows may exist; 0: only the grace period */
	uint64_t ready_ns;
};

struct retired_queue {
	struct retired *items; /* a ring */
	uint32_t first, count, room;
};

/* Zeroed, both queues are empty. */
struct retirement {
	struct retired_queue grace;   /* freed when their grace period is over */
	struct retired_queue waiting; /* freed when their flows have ended */
	uint64_t check_ns;            /* when `waiting` is checked next */
};

void retirement_fini(struct retirement *retirement);

/* The entry is free after the grace period. */
void retire(struct retirement *retirement, enum retired_kind kind, uint32_t id, uint32_t count);

/* The entry is free when its flows have ended too. */
void retire_when_idle(struct retirement *retirement, enum retired_kind kind, uint32_t id,
		      uint32_t vip);

/* Dequeues the oldest entry, if its grace period is over at `now_ns`. */
bool retirement_dequeue(struct retirement *retirement, uint64_t now_ns, struct retired *ret_item);

/*
 * A check of `waiting`: once one is due, the caller dequeues each entry once, requeues those whose
 * flows have not ended, and ends the check.
 */
bool retirement_is_check_due(const struct retirement *retirement, uint64_t now_ns);
struct retired retirement_dequeue_waiting(struct retirement *retirement);
void retirement_requeue_waiting(struct retirement *retirement, const struct retired *item);
void retirement_end_check(struct retirement *retirement, uint64_t now_ns);

/* In how many ms from `now_ns` an entry of either queue may be freed; 0: both are empty. */
uint64_t retirement_wait_ms(const struct retirement *retirement, uint64_t now_ns);
