/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Removes flows, and passes a reply tuple from one flow to another. */

#include "flow/flow.h"

/* What remains of a flow that ends. */
enum flow_remains {
	FLOW_LEAVES_NOTHING,
	/* Its backend may be in TIME_WAIT: the reply tuple stays reserved for a while. */
	FLOW_LEAVES_REPLY,
};

/* True if the table has this half under its key, and not another flow's. */
static __always_inline bool flow_stands_in(void *table, const struct flow_key *key,
					   const struct flow *flow)
{
	const struct flow *found = bpf_map_lookup_elem(table, key);

	return found && flow_is_same(found, flow);
}

/* Returns true if the half was in the table and has been deleted. */
static __always_inline bool flow_delete_half(void *table, const struct flow_key *key,
					     const struct flow *flow)
{
	return flow_stands_in(table, key, flow) && !bpf_map_delete_elem(table, key);
}

/*
 * Removes both halves of the flow in draft->ended from both tables, except that with
 * FLOW_LEAVES_REPLY a confirmed reply half moves to `new_flows`; the caller holds the flow's lock.
 * A global function, so the verifier checks it once and not on every path that leads here. It finds
 * the draft itself: global functions take no pointers before Linux 5.12, and no pointers that may
 * be a map's key or value before 6.2.
 */
__noinline int flow_end_held(__u32 remains)
{
	struct flow_draft *draft = flow_draft_get();
	struct flow_pair *ended;

	if (!draft)
		return 0;
	ended = &draft->ended;
	(void)flow_delete_half(&new_flows, &ended->original_key, &ended->original);
	if (flow_delete_half(&flows, &ended->original_key, &ended->original))
		flow_count_confirmed(&ended->original_key, &ended->reply_key, -1);
	if (remains == FLOW_LEAVES_REPLY) {
		if (flow_delete_half(&flows, &ended->reply_key, &ended->reply))
			(void)bpf_map_update_elem(&new_flows, &ended->reply_key, &ended->reply,
						  BPF_NOEXIST);
		return 0;
	}
	(void)flow_delete_half(&new_flows, &ended->reply_key, &ended->reply);
	(void)flow_delete_half(&flows, &ended->reply_key, &ended->reply);
	return 0;
}

/* Fills draft->ended from one half of a flow. */
static __always_inline void flow_end_fill(struct flow_draft *draft, const struct flow_key *key,
					  const struct flow *flow)
{
	struct flow_pair *ended = &draft->ended;

	if (key->direction == FLOW_ORIGINAL) {
		ended->original_key = *key;
		ended->original = *flow;
		flow_peer_key(key, flow, &ended->reply_key);
		flow_peer(key, flow, &ended->reply);
		ended->reply.check = flow_check_of(&ended->reply_key);
		return;
	}
	ended->reply_key = *key;
	ended->reply = *flow;
	flow_peer_key(key, flow, &ended->original_key);
	flow_peer(key, flow, &ended->original);
}

/*
 * Ends the draft's flow, as flow_end_held() does. The half in `direction` must be in the draft.
 * Returns 1 if the flow was ended, 0 if another CPU holds its lock. In that case the flow still
 * exists, and the caller must not create another one for the same client packets, because they
 * would follow the old one.
 */
__noinline int flow_forget(__u32 direction, __u32 remains)
{
	struct flow_draft *draft = flow_draft_get();
	struct tuple_lock *lock;

	if (!draft)
		return 0;
	if (direction == FLOW_ORIGINAL)
		flow_end_fill(draft, &draft->original_key, &draft->original);
	else
		flow_end_fill(draft, &draft->reply_key, &draft->reply);
	lock = tuple_lock_of(&draft->ended.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return 0;
	(void)flow_end_held(remains);
	tuple_lock_release(lock);
	return 1;
}

/*
 * True if the draft's reply tuple may be taken from the flow that holds it; copies the holder to
 * draft->ended.reply. A holder that is not established yet, or is closed, gives way only to a flow
 * that found no other port (`displaces`). Of several such holders the one unused longest goes
 * first, so it is remembered in the draft.
 */
static __always_inline bool tuple_may_be_taken(struct flow_draft *draft, bool displaces)
{
	const struct flow *reply = &draft->reply, *holder = &draft->ended.reply;
	const struct flow_key *key = &draft->reply_key;
	bool is_confirmed;

	if (!flow_look(key, &draft->ended.reply, &is_confirmed)) {
		draft->ended.reply = *reply; /* there is no holder */
		return true;
	}
	if (flow_is_same(holder, reply) || flow_is_expired(holder, key->proto, reply->last_use_s))
		return true;
	if (holder->state != FLOW_CLOSED && (is_confirmed || holder->state >= FLOW_ESTABLISHED))
		return false;
	if (displaces)
		return true;
	if (!draft->has_oldest || (__s32)(holder->last_use_s - draft->oldest_use_s) < 0) {
		draft->has_oldest = true;
		draft->oldest_port = key->dst_port;
		draft->oldest_use_s = holder->last_use_s;
	}
	return false;
}

/*
 * Inserts the draft's reply half unless the tuple is taken. A flow that is being confirmed enters
 * `flows` before it leaves `new_flows`, and only after that can this insertion succeed: hence the
 * second look into `flows` afterwards.
 */
static __always_inline int tuple_enter(struct flow_draft *draft)
{
	const struct flow_key *key = &draft->reply_key;
	int err = bpf_map_update_elem(&new_flows, key, &draft->reply, BPF_NOEXIST);

	if (err || !bpf_map_lookup_elem(&flows, key))
		return err;
	(void)flow_delete_half(&new_flows, key, &draft->reply);
	return -EEXIST;
}

/*
 * Takes the draft's reply tuple over from the flow that holds it. Returns 0, -EEXIST if that flow
 * keeps it or another CPU holds the lock, or another negative errno.
 */
static __always_inline int tuple_take_over(struct flow_draft *draft, bool displaces)
{
	struct tuple_lock *lock;
	int err = -EEXIST;

	if (!tuple_may_be_taken(draft, displaces))
		return -EEXIST;
	lock = tuple_lock_of(&draft->reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return -EEXIST;
	/* Another CPU may have taken it since. */
	if (tuple_may_be_taken(draft, displaces)) {
		draft->ended.reply_key = draft->reply_key;
		flow_peer_key(&draft->reply_key, &draft->ended.reply, &draft->ended.original_key);
		flow_peer(&draft->reply_key, &draft->ended.reply, &draft->ended.original);
		(void)flow_end_held(FLOW_LEAVES_NOTHING);
		err = tuple_enter(draft);
	}
	tuple_lock_release(lock);
	return err;
}

/*
 * Claims the draft's reply tuple. Two frontends with the same backend and the same client port want
 * the same tuple: one gets it, the other needs another source port to be told apart. Returns 0,
 * -EEXIST if the tuple is taken, or another negative errno.
 */
__noinline int flow_claim_reply(__u32 displaces)
{
	struct flow_draft *draft = flow_draft_get();
	int err;

	if (!draft)
		return -EEXIST;
	draft->reply.check = flow_check_of(&draft->reply_key);
	if (!bpf_map_lookup_elem(&flows, &draft->reply_key)) {
		err = tuple_enter(draft);
		if (err != -EEXIST)
			return err;
	}
	return tuple_take_over(draft, displaces);
}
