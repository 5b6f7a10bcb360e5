/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The end of confirmed flows. Each waits in one queue, all equally long, and is looked at when its
 * turn comes: one that has expired leaves `flows`, the others go to the end of the queue. A timer
 * of the kernel takes those whose time has come (sweep.bpf.c), so no agent is needed; on kernels
 * without timers (before 5.15) each flow that is confirmed looks at two others. A timer for each
 * flow would be simpler, but to make, start and free one was an eighth of all that a short
 * connection costs.
 */

#include "fairlead/atomic.h"
#include "flow/end.h"

/* So many are looked at by a flow that finds no room. */
#define CHECKS_FOR_ROOM 8
/* By each flow that is confirmed, without a timer: more than come, or some would wait for ever. */
#define CHECKS_WITHOUT_TIMER 2

static __always_inline struct flow_sweeper *flow_sweeper_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_sweeper, &zero);
}

static __always_inline bool flow_check_push(struct flow_sweeper *sweeper,
					    const struct flow_check *check)
{
	/* Before it is there: it may be gone again at once, and the count shall not go below 0. */
	ATOMIC_ADD(sweeper->waiting, 1);
	if (!bpf_map_push_elem(&flow_checks, check, BPF_ANY))
		return true;
	ATOMIC_ADD(sweeper->waiting, -1);
	return false;
}

/*
 * Ends the flow of draft->check if it is still the same flow and has still expired. Returns false
 * if another CPU holds the flow's lock, or if a packet has used the flow meanwhile: then the flow
 * must stay in the queue.
 */
static __always_inline bool flow_expire(struct flow_draft *draft, __u32 now_s)
{
	const struct flow_check *check = &draft->check;
	const struct confirmed_flow *confirmed;
	struct tuple_lock *lock;
	bool is_over = true;

	lock = tuple_lock_of(&draft->ended.reply_key);
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
 * Looks at the flow that has waited longest. Returns by how many seconds that is before its time,
 * which does no harm; 0: not at all; or -ENOENT: none waits. A global function, which the verifier
 * looks at once and not each time round a loop. The entry is in the draft, for this is called where
 * the stack is deepest.
 */
__noinline int flow_check_next(__u32 now_s)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();
	struct flow_draft *draft = flow_draft_get();
	struct confirmed_flow *confirmed;
	struct flow_check *check;
	__s32 early_s;

	if (!sweeper || !draft)
		return -ENOENT;
	check = &draft->check;
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
		flow_end_fill(draft, &check->key, &confirmed->flow);
		if (flow_expire(draft, now_s))
			return early_s;
	}
	/* There is room: who confirms leaves some spare. */
	check->due_s = now_s + config.flow_check_s;
	(void)flow_check_push(sweeper, check);
	return early_s;
}

/* Looks at a few flows, be it before their time. */
static __always_inline void flow_sweep_some(int count)
{
	__u32 now_s = now_seconds();

	for (int i = 0; i < count; i++) {
		if (flow_check_next(now_s) < 0)
			break;
	}
}

/* Whether a flow that is confirmed may wait in the queue; makes room if need be. */
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
 * Lets the flow of draft->original_key wait, which has just been confirmed with this ticket. False:
 * that is not possible.
 */
static __always_inline bool flow_check_enter(struct flow_draft *draft, __u32 ticket)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();

	draft->check.key = draft->original_key;
	draft->check.ticket = ticket;
	draft->check.due_s = now_seconds() + config.flow_check_s;
	if (!sweeper || !flow_check_push(sweeper, &draft->check))
		return false;
	if (!sweeper->has_timer)
		flow_sweep_some(CHECKS_WITHOUT_TIMER);
	return true;
}
