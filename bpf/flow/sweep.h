/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Expiry of confirmed flows. All of them wait in one queue, each equally long, and are checked in
 * turn: an expired flow leaves `flows`, any other goes to the end of the queue. A kernel timer
 * takes the entries that are due (sweep.bpf.c), so no agent is needed. On kernels without timers
 * (before 5.15) each flow that is confirmed checks two others. A timer per flow would be simpler,
 * but creating, starting and freeing one took an eighth of the cost of a short connection.
 */

#include "fairlead/atomic.h"
#include "flow/end.h"

/* Entries checked for a flow that finds no room. */
#define CHECKS_FOR_ROOM 8
/* Without timers each confirmation checks two entries, so the queue drains faster than it fills. */
#define CHECKS_WITHOUT_TIMER 2

static __always_inline struct flow_sweeper *flow_sweeper_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_sweeper, &zero);
}

static __always_inline bool flow_check_push(struct flow_sweeper *sweeper,
					    const struct flow_check *check)
{
	/*
	 * Count before pushing: another CPU may pop it at once, and `waiting` must not underflow.
	 */
	ATOMIC_ADD(sweeper->waiting, 1);
	if (!bpf_map_push_elem(&flow_checks, check, BPF_ANY))
		return true;
	ATOMIC_ADD(sweeper->waiting, -1);
	return false;
}

/*
 * Ends the flow of scratch->check if it is still the same flow and has still expired. Returns false
 * if another CPU holds the flow's lock, or if a packet has used the flow meanwhile: then the flow
 * must stay in the queue.
 */
static __always_inline bool flow_expire(const struct scratch *scratch, __u32 now_s)
{
	const struct flow_check *check = &scratch->check;
	const struct confirmed_flow *confirmed;
	struct tuple_lock *lock;
	bool is_over = true;

	lock = tuple_lock_of(&scratch->ended.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return false;
	confirmed = bpf_map_lookup_elem(&flows, &check->key);
	if (confirmed && confirmed->ticket == check->ticket) {
		is_over = flow_is_expired(&confirmed->flow, check->key.proto, now_s);
		if (is_over)
			(void)flow_end_held(FLOW_LEAVES_NOTHING);
	}
	tuple_lock_release(lock);
	return is_over;
}

/*
 * Checks the flow at the head of the queue. Returns how many seconds early the check came (early is
 * harmless), 0 if it was due, or -ENOENT if the queue is empty. A global function, so the verifier
 * checks it once and not in every round of a loop. The entry is kept in the scratch because this is
 * called where the stack is deepest.
 */
__noinline int flow_check_next(__u32 now_s)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();
	struct scratch *scratch = scratch_get();
	struct confirmed_flow *confirmed;
	struct flow_check *check;
	__s32 early_s;

	if (!sweeper || !scratch)
		return -ENOENT;
	check = &scratch->check;
	if (bpf_map_pop_elem(&flow_checks, check))
		return -ENOENT;
	ATOMIC_ADD(sweeper->waiting, -1);
	early_s = (__s32)(check->due_s - now_s);
	if (early_s < 0)
		early_s = 0;
	confirmed = bpf_map_lookup_elem(&flows, &check->key);
	if (!confirmed || confirmed->ticket != check->ticket)
		return early_s;
	if (flow_is_expired(&confirmed->flow, check->key.proto, now_s)) {
		flow_pair_of_original(&scratch->ended, &check->key, &confirmed->flow);
		if (flow_expire(scratch, now_s))
			return early_s;
	}
	/* There is room: flow_check_has_room() keeps some spare. */
	check->due_s = now_s + config.flow_check_s;
	(void)flow_check_push(sweeper, check);
	return early_s;
}

/* Checks a few flows, even if they are not due yet. */
static __always_inline void flow_sweep_some(int count)
{
	__u32 now_s = now_seconds();

	for (int i = 0; i < count; i++) {
		if (flow_check_next(now_s) < 0)
			break;
	}
}

/* True if the queue has room for a newly confirmed flow; checks a few entries if it has none. */
static __always_inline bool flow_check_has_room(void)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();

	if (!sweeper)
		return false;
	if (sweeper->waiting >= config.flow_checks_max)
		flow_sweep_some(CHECKS_FOR_ROOM);
	return sweeper->waiting < config.flow_checks_max;
}

/*
 * Queues the flow of scratch->pair.original_key, just confirmed with this ticket. Returns false if
 * that is impossible.
 */
static __always_inline bool flow_check_enqueue(struct scratch *scratch, __u32 ticket)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();

	scratch->check.key = scratch->pair.original_key;
	scratch->check.ticket = ticket;
	scratch->check.due_s = now_seconds() + config.flow_check_s;
	if (!sweeper || !flow_check_push(sweeper, &scratch->check))
		return false;
	if (!sweeper->has_timer)
		flow_sweep_some(CHECKS_WITHOUT_TIMER);
	return true;
}
