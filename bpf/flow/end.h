/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* How flows are taken away, and how a reply tuple passes from one to another. */

#include "flow/flow.h"

/* What is left of a flow that ends. */
enum flow_remains {
	FLOW_LEAVES_NOTHING,
	/* Its backend may be in TIME_WAIT: others had better not get the reply tuple yet. */
	FLOW_LEAVES_REPLY,
};

/* True if a table has this half, and not another flow's in its place. */
static __always_inline bool flow_stands_in(void *table, const struct flow_key *key,
					   const struct flow *flow)
{
	const struct flow *found = bpf_map_lookup_elem(table, key);

	return found && flow_is_same(found, flow);
}

/* True if the half was there. */
static __always_inline bool flow_delete_half(void *table, const struct flow_key *key,
					     const struct flow *flow)
{
	return flow_stands_in(table, key, flow) && !bpf_map_delete_elem(table, key);
}

/*
 * Takes away the flow in draft->ended, both halves of it, from both tables; its lock is held. A
 * global function, which the verifier looks at once, not again for each way that leads here. It
 * finds the draft itself, for global functions take no pointers before Linux 5.12, and none that
 * may be key or value of a map before 6.2.
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

/* Makes draft->ended of one half of a flow. */
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
 * Ends a flow, both halves of it, in both tables: the draft's, of which the half in this direction
 * is known. Returns 1, or 0: another CPU works on the flow, or on one that shares its lock. Then it
 * is still there, and no other flow may be made for its client's packets: they would go on by this
 * one.
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
 * True if the reply tuple of the draft may be taken from the flow that has it. That is copied to
 * draft->ended.reply. One that has not been made yet, or is over, gives way only to a flow that
 * finds nothing else (`displaces`), and the one unused longest first: so it is noted.
 */
static __always_inline bool tuple_may_be_taken(struct flow_draft *draft, bool displaces)
{
	const struct flow *reply = &draft->reply, *holder = &draft->ended.reply;
	const struct flow_key *key = &draft->reply_key;
	bool is_confirmed;

	if (!flow_look(key, &draft->ended.reply, &is_confirmed)) {
		draft->ended.reply = *reply; /* nobody else's */
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
 * Enters the draft's reply half where nobody has its tuple. Whoever is confirmed meanwhile is in
 * `flows` before it leaves `new_flows`, and only then can the entry succeed: hence the second look,
 * after it.
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

/* Takes the reply tuple of the draft from the flow that has it. Returns 0 or -EEXIST. */
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
 * Claims the reply tuple of the draft. Two frontends with one backend and one client port want the
 * same one: only one gets it, the other must be told apart by another source port. Returns 0, or
 * -EEXIST: it is taken.
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
