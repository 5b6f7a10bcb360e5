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
 * Inserts the original half of draft->pair.original into `flows`, and queues its expiry check.
 * Returns 0, -EEXIST if the key is already in `flows`, or another negative errno if there is no
 * room. The flow is counted before it is inserted: another CPU may end it at once, and its
 * decrement would be skipped if the count were still 0.
 */
static __always_inline int flow_insert_original(struct flow_draft *draft)
{
	int err;

	draft->confirmed.ticket = bpf_get_prandom_u32();
	flow_count_confirmed(&draft->pair.original_key, &draft->pair.reply_key, 1);
	err = flow_insert_confirmed(draft, &draft->pair.original_key, &draft->pair.original);
	if (!err && flow_check_enter(draft, draft->confirmed.ticket))
		return 0;
	if (err || !bpf_map_delete_elem(&flows, &draft->pair.original_key))
		flow_count_confirmed(&draft->pair.original_key, &draft->pair.reply_key, -1);
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
	if (!flow_stands_in(&new_flows, &draft->pair.original_key, &draft->pair.original))
		return -EEXIST;
	if (!(draft->pair.original.flags & FLOW_DSR)) {
		err = flow_insert_confirmed(draft, &draft->pair.reply_key, &draft->pair.reply);
		if (err)
			return err;
	}
	err = flow_insert_original(draft);
	if (err) {
		(void)flow_delete_half(&flows, &draft->pair.reply_key, &draft->pair.reply);
		return err;
	}
	lock->moved = flow_key_hash(&draft->pair.reply_key);
	barrier();
	(void)bpf_map_delete_elem(&new_flows, &draft->pair.original_key);
	(void)flow_delete_half(&new_flows, &draft->pair.reply_key, &draft->pair.reply);
	return 0;
}

/*
 * The client has answered the backend: moves the flow of draft->pair.original and
 * draft->pair.original_key from `new_flows` to `flows`. If the table is full, the flow stays in
 * `new_flows` and the failure is counted. If another CPU holds the flow's lock, the flow also
 * stays, and its next packet tries again.
 */
static __noinline int flow_confirm(struct flow_draft *draft)
{
	const struct flow *reply;
	struct tuple_lock *lock;
	int err;

	flow_peer_key(&draft->pair.original_key, &draft->pair.original, &draft->pair.reply_key);
	flow_peer(&draft->pair.original_key, &draft->pair.original, &draft->pair.reply);
	draft->pair.reply.check = flow_check_of(&draft->pair.reply_key);
	if (!flow_check_has_room()) {
		flow_find_full();
		return 0;
	}
	lock = tuple_lock_of(&draft->pair.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return 0;
	reply = bpf_map_lookup_elem(&new_flows, &draft->pair.reply_key);
	if (reply && flow_is_same(reply, &draft->pair.reply)) {
		draft->pair.reply.sent = reply->sent;
		draft->pair.reply.acked = reply->acked;
	}
	err = flow_move(draft, lock);
	tuple_lock_release(lock);
	if (err && err != -EEXIST)
		flow_find_full();
	return 0;
}
