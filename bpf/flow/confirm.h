/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Moves flows from `new_flows` to `flows`. */

#include "flow/end.h"
#include "flow/sweep.h"

/* Inserts one half into `flows`. */
static __always_inline int
flow_insert_confirmed(struct flow_draft *draft, const struct flow_key *key, const struct flow *flow)
{
	draft->confirmed.flow = *flow;
	return bpf_map_update_elem(&flows, key, &draft->confirmed, BPF_NOEXIST);
}

/*
 * Inserts the original half of draft->original into `flows`, and queues its expiry check. Returns
 * 0, -EEXIST if the key is already in `flows`, or another negative errno if there is no room. The
 * flow is counted before it is inserted: another CPU may end it at once, and its decrement would be
 * skipped if the count were still 0.
 */
static __always_inline int flow_insert_original(struct flow_draft *draft)
{
	int err;

	draft->confirmed.ticket = bpf_get_prandom_u32();
	flow_count_confirmed(&draft->original_key, &draft->reply_key, 1);
	err = flow_insert_confirmed(draft, &draft->original_key, &draft->original);
	if (!err && flow_check_enter(draft, draft->confirmed.ticket))
		return 0;
	if (err || !bpf_map_delete_elem(&flows, &draft->original_key))
		flow_count_confirmed(&draft->original_key, &draft->reply_key, -1);
	return err ? err : -ENOSPC;
}

/* Table full: counts it and reclaims a few expired entries; the flow stays unconfirmed. */
static __always_inline void flow_find_full(void)
{
	counter_add(COUNTER_FLOWS_FULL, 0);
	flow_sweep_some(CHECKS_FOR_ROOM);
}

/*
 * Moves both halves; the caller holds the flow's lock. Returns 0, -EEXIST if the flow has gone or
 * another flow has one of its tuples, or another negative errno if there is no room.
 */
static __always_inline int flow_move(struct flow_draft *draft, struct tuple_lock *lock)
{
	int err;

	/* Another CPU may have removed it since it was looked up. */
	if (!flow_stands_in(&new_flows, &draft->original_key, &draft->original))
		return -EEXIST;
	if (!(draft->original.flags & FLOW_DSR)) {
		err = flow_insert_confirmed(draft, &draft->reply_key, &draft->reply);
		if (err)
			return err;
	}
	err = flow_insert_original(draft);
	if (err) {
		(void)flow_delete_half(&flows, &draft->reply_key, &draft->reply);
		return err;
	}
	lock->moved = flow_key_hash(&draft->reply_key);
	barrier();
	(void)bpf_map_delete_elem(&new_flows, &draft->original_key);
	(void)flow_delete_half(&new_flows, &draft->reply_key, &draft->reply);
	return 0;
}

/*
 * The client has answered the backend: moves the flow of draft->original and draft->original_key
 * from `new_flows` to `flows`. If the table is full, the flow stays in `new_flows` and the failure
 * is counted. If another CPU holds the flow's lock, the flow also stays, and its next packet tries
 * again.
 */
static __noinline int flow_confirm(struct flow_draft *draft)
{
	const struct flow *reply;
	struct tuple_lock *lock;
	int err;

	flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	flow_peer(&draft->original_key, &draft->original, &draft->reply);
	draft->reply.check = flow_check_of(&draft->reply_key);
	if (!flow_check_has_room()) {
		flow_find_full();
		return 0;
	}
	lock = tuple_lock_of(&draft->reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return 0;
	reply = bpf_map_lookup_elem(&new_flows, &draft->reply_key);
	if (reply && flow_is_same(reply, &draft->reply)) {
		draft->reply.sent = reply->sent;
		draft->reply.acked = reply->acked;
	}
	err = flow_move(draft, lock);
	tuple_lock_release(lock);
	if (err && err != -EEXIST)
		flow_find_full();
	return 0;
}
