/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* How flows come from `new_flows` to `flows`. */

#include "flow/end.h"
#include "flow/sweep.h"

/* Puts one half among the confirmed flows. */
static __always_inline int
flow_insert_confirmed(struct flow_draft *draft, const struct flow_key *key, const struct flow *flow)
{
	draft->confirmed.flow = *flow;
	return bpf_map_update_elem(&flows, key, &draft->confirmed, BPF_NOEXIST);
}

/*
 * Puts the original half of draft->original among the confirmed flows, to be asked now and then
 * whether it has expired. Returns 0, -EEXIST: it is there, or another negative errno: it cannot be.
 * It is counted before it is there: whoever ends it at once, on another CPU, takes from a count
 * that has it, for a count of 0 is left alone.
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

/* A flow stays what it is, for there is no room. That is counted, and expired ones make some. */
static __always_inline void flow_find_full(void)
{
	counter_add(COUNTER_FLOWS_FULL, 0);
	flow_sweep_some(CHECKS_FOR_ROOM);
}

/*
 * Moves both halves, with the flow's lock held. Returns 0, -EEXIST: another flow has a tuple of it,
 * or another negative errno: there is no room.
 */
static __always_inline int flow_move(struct flow_draft *draft, struct tuple_lock *lock)
{
	int err;

	/* It may have been taken away since it was looked at. */
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
 * The client has answered the backend: moves the flow of draft->original and its key from
 * `new_flows` to `flows`. Where the table is full the flow stays what it is, and that is counted.
 * So it does where another CPU works on it; its next packet tries again.
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
