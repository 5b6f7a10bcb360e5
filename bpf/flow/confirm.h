/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Moves flows from `new_flows` to `flows`. */

#include <linux/errno.h>

#include "flow/end.h"
#include "flow/sweep.h"

/* How the move of a flow to `flows` ends. */
enum flow_move {
	FLOW_MOVED,
	FLOW_MOVE_LATE,    /* the flow has gone, or another flow has one of its tuples */
	FLOW_MOVE_NO_ROOM, /* it stays where it is */
};

/* Inserts one half into `flows`. */
static __always_inline enum flow_move
flow_insert_confirmed(struct scratch *scratch, const struct flow_key *key, const struct flow *flow)
{
	int err;

	scratch->confirmed.flow = *flow;
	err = bpf_map_update_elem(&flows, key, &scratch->confirmed, BPF_NOEXIST);
	if (!err)
		return FLOW_MOVED;
	return err == -EEXIST ? FLOW_MOVE_LATE : FLOW_MOVE_NO_ROOM;
}

/*
 * Inserts the original half of scratch->pair.original into `flows`, and queues its expiry check.
 * The flow is counted before it is inserted: another CPU may end it at once, and its decrement
 * would be skipped if the count were still 0.
 */
static __always_inline enum flow_move flow_insert_original(struct scratch *scratch)
{
	enum flow_move move;

	scratch->confirmed.ticket = bpf_get_prandom_u32();
	flow_count_confirmed(&scratch->pair.original_key, &scratch->pair.reply_key, 1);
	move = flow_insert_confirmed(scratch, &scratch->pair.original_key, &scratch->pair.original);
	if (move == FLOW_MOVED && flow_check_enqueue(scratch, scratch->confirmed.ticket))
		return FLOW_MOVED;
	if (move != FLOW_MOVED || !bpf_map_delete_elem(&flows, &scratch->pair.original_key))
		flow_count_confirmed(&scratch->pair.original_key, &scratch->pair.reply_key, -1);
	return move == FLOW_MOVED ? FLOW_MOVE_NO_ROOM : move;
}

/* Table full: counts it and reclaims a few expired entries; the flow stays unconfirmed. */
static __always_inline void flow_make_room(void)
{
	counter_add(COUNTER_FLOWS_FULL, 0);
	flow_sweep_some(CHECKS_FOR_ROOM);
}

/* Moves both halves; the caller holds the flow's lock. */
static __always_inline enum flow_move flow_move(struct scratch *scratch, struct tuple_lock *lock)
{
	enum flow_move move;

	/* Another CPU may have removed it since it was looked up. */
	if (!flow_is_in_table(&new_flows, &scratch->pair.original_key, &scratch->pair.original))
		return FLOW_MOVE_LATE;
	if (!(scratch->pair.original.flags & FLOW_DSR)) {
		move = flow_insert_confirmed(scratch, &scratch->pair.reply_key,
					     &scratch->pair.reply);
		if (move != FLOW_MOVED)
			return move;
	}
	move = flow_insert_original(scratch);
	if (move != FLOW_MOVED) {
		(void)flow_delete_half(&flows, &scratch->pair.reply_key, &scratch->pair.reply);
		return move;
	}
	lock->moved = flow_key_hash(&scratch->pair.reply_key);
	barrier();
	(void)bpf_map_delete_elem(&new_flows, &scratch->pair.original_key);
	(void)flow_delete_half(&new_flows, &scratch->pair.reply_key, &scratch->pair.reply);
	return FLOW_MOVED;
}

/*
 * The client has answered the backend: moves the flow of scratch->pair.original and
 * scratch->pair.original_key from `new_flows` to `flows`. If the table is full, the flow stays in
 * `new_flows` and the failure is counted. If another CPU holds the flow's lock, the flow also
 * stays, and its next packet tries again.
 */
static __noinline int flow_confirm(struct scratch *scratch)
{
	const struct flow *reply;
	struct tuple_lock *lock;
	enum flow_move move;

	flow_pair_complete(&scratch->pair);
	if (!flow_check_has_room()) {
		flow_make_room();
		return 0;
	}
	lock = tuple_lock_of(&scratch->pair.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return 0;
	reply = bpf_map_lookup_elem(&new_flows, &scratch->pair.reply_key);
	if (reply && flow_is_same(reply, &scratch->pair.reply)) {
		scratch->pair.reply.sent = reply->sent;
		scratch->pair.reply.acked = reply->acked;
	}
	move = flow_move(scratch, lock);
	tuple_lock_release(lock);
	if (move == FLOW_MOVE_NO_ROOM)
		flow_make_room();
	return 0;
}
