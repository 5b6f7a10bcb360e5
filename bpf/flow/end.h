/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Removes flows. */

#include "flow/flow.h"

/* What remains of a flow that ends. */
enum flow_remains {
	FLOW_LEAVES_NOTHING,
	/* Its backend may be in TIME_WAIT: the reply tuple stays reserved for a while. */
	FLOW_LEAVES_REPLY,
};

/* True if the table has this half under its key, and not another flow's. */
static __always_inline bool flow_is_in_table(void *table, const struct flow_key *key,
					     const struct flow *flow)
{
	const struct flow *found = bpf_map_lookup_elem(table, key);

	return found && flow_is_same(found, flow);
}

/* Returns true if the half was in the table and has been deleted. */
static __always_inline bool flow_delete_half(void *table, const struct flow_key *key,
					     const struct flow *flow)
{
	return flow_is_in_table(table, key, flow) && !bpf_map_delete_elem(table, key);
}

/*
 * Removes both halves of the flow in scratch->ended from both tables, except that with
 * FLOW_LEAVES_REPLY a confirmed reply half moves to `new_flows`; the caller holds the flow's lock.
 * A global function, so the verifier checks it once and not on every path that leads here. It finds
 * the scratch itself: global functions take no pointers before Linux 5.12, and no pointers that may
 * be a map's key or value before 6.2.
 */
__noinline int flow_end_held(__u32 remains)
{
	struct scratch *scratch = scratch_get();
	struct flow_pair *ended;

	if (!scratch)
		return 0;
	ended = &scratch->ended;
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

/* Fills a pair from its reply half. */
static __always_inline void flow_pair_of_reply(struct flow_pair *ret_pair,
					       const struct flow_key *key, const struct flow *reply)
{
	ret_pair->reply_key = *key;
	ret_pair->reply = *reply;
	flow_peer_key(key, reply, &ret_pair->original_key);
	flow_peer(key, reply, &ret_pair->original);
}

/* Fills the reply half of a pair from its original half. */
static __always_inline void flow_pair_complete(struct flow_pair *pair)
{
	flow_peer_key(&pair->original_key, &pair->original, &pair->reply_key);
	flow_peer(&pair->original_key, &pair->original, &pair->reply);
	pair->reply.check = flow_check_of(&pair->reply_key);
}

/* Fills a pair from its original half. */
static __always_inline void flow_pair_of_original(struct flow_pair *ret_pair,
						  const struct flow_key *key,
						  const struct flow *original)
{
	ret_pair->original_key = *key;
	ret_pair->original = *original;
	flow_pair_complete(ret_pair);
}

/*
 * Ends the flow of scratch->pair, as flow_end_held() does. The half in `direction` must be there.
 * Returns 1 if the flow was ended, 0 if another CPU holds its lock. In that case the flow still
 * exists, and the caller must not create another one for the same client packets, because they
 * would follow the old one.
 */
__noinline int flow_end(__u32 direction, __u32 remains)
{
	struct scratch *scratch = scratch_get();
	struct tuple_lock *lock;

	if (!scratch)
		return 0;
	if (direction == FLOW_ORIGINAL)
		flow_pair_of_original(&scratch->ended, &scratch->pair.original_key,
				      &scratch->pair.original);
	else
		flow_pair_of_reply(&scratch->ended, &scratch->pair.reply_key, &scratch->pair.reply);
	lock = tuple_lock_of(&scratch->ended.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return 0;
	(void)flow_end_held(remains);
	tuple_lock_release(lock);
	return 1;
}
