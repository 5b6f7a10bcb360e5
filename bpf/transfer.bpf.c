/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * What user space cannot do by itself when a larger `flows` takes the place of a smaller one while
 * programs of both generations run (user/datapath/flow_transfer.c). No hook runs these programs;
 * the agent does, by BPF_PROG_RUN, which may be interrupted: they have no working memory but the
 * stack.
 *
 * fl_flows_hold   Holds tuple locks, from the index in skb->mark on. While all are held, each
 *                 generation keeps the flows that it has: none is confirmed, ended or displaced.
 *                 Packets of those that there are go on.
 * fl_flows_free   Releases them, up to the index in skb->priority.
 * fl_flows_merge  The packet is an array of keys: merges what the programs of before wrote to the
 *                 halves in the smaller table into their copies in the larger one.
 */

#include "fairlead/flow_mark.h"
#include "flow/follow.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define LOCKS_A_RUN 256
#define KEYS_A_RUN  64

/*
 * If a direction's numbers are at most this far ahead of the copy's, the programs of today have
 * seen none of its segments: they would have followed them. If they are further ahead, nobody knows
 * how far the connection is by now.
 */
#define NUMBERS_NEAR (SEGMENT_REACH / 2)

/* The smaller table, in the place of which `flows` is put. User space sets it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct confirmed_flow);
} flows_before SEC(".maps");

/* A global function, so that the verifier checks it once and not in every round of the loop. */
__noinline int lock_hold(__u32 index)
{
	struct tuple_lock *lock = bpf_map_lookup_elem(&tuple_locks, &index);

	return lock && tuple_lock_hold(lock);
}

/* Returns how many it holds now: it ends at the first that another CPU holds. */
SEC("tc")
int fl_flows_hold(struct __sk_buff *skb)
{
	const __u32 first = skb->mark;
	int count = 0;

	while (count < LOCKS_A_RUN && lock_hold(first + count))
		count++;
	return count;
}

/* Returns how many it has released. */
SEC("tc")
int fl_flows_free(struct __sk_buff *skb)
{
	const __u32 first = skb->mark, end = skb->priority;
	int count = 0;

	for (; count < LOCKS_A_RUN && first + count < end; count++) {
		__u32 index = first + count;
		struct tuple_lock *lock = bpf_map_lookup_elem(&tuple_locks, &index);

		if (!lock)
			break;
		tuple_lock_release(lock);
	}
	return count;
}

/* The later of two sequence numbers of one conversation. 0: not known. */
static __always_inline __u32 number_merge(__u32 before, __u32 after)
{
	if (!before || !after || (__s32)(before - after) <= 0)
		return after;
	return before - after <= NUMBERS_NEAR ? before : 0;
}

/* A sequence number that has moved on from the copy's, perhaps to another conversation's. */
static __always_inline __u32 number_take(__u32 before, __u32 after)
{
	return before - after <= NUMBERS_NEAR ? before : 0;
}

/* The half that `before` describes is the later one in all respects. */
static __always_inline void half_take(struct flow *after, const struct flow *before, __u8 proto)
{
	/* A conversation that has just begun has sent next to nothing since. */
	bool is_exact = proto != IPPROTO_TCP || before->state < FLOW_ESTABLISHED;

	after->state = before->state;
	after->flags = before->flags;
	after->sent = is_exact ? before->sent : number_take(before->sent, after->sent);
	after->acked = is_exact ? before->acked : number_take(before->acked, after->acked);
}

/* Packets of the conversation changed both halves. */
static __always_inline void half_join(struct flow *after, const struct flow *before, __u8 proto)
{
	after->flags |= before->flags;
	if (before->state > after->state)
		after->state = before->state;
	if ((after->flags & FLOW_FIN_BOTH) == FLOW_FIN_BOTH)
		after->state = FLOW_CLOSED;
	if (proto == IPPROTO_TCP) {
		after->sent = number_merge(before->sent, after->sent);
		after->acked = number_merge(before->acked, after->acked);
	} else if (!after->tag) {
		after->tag = before->tag;
	}
}

/*
 * Merges one half. Of two that have changed, one that is not established tells that the backend has
 * agreed to another conversation (flow_restart): nothing else leads there, and of the one before
 * nothing counts any more.
 */
static __noinline int half_merge(const struct flow_key *key)
{
	const struct confirmed_flow *found = bpf_map_lookup_elem(&flows_before, key);
	struct confirmed_flow *entry = bpf_map_lookup_elem(&flows, key);
	struct flow_mark mark;
	struct flow_key reply_key = *key;
	struct tuple_lock *lock;
	struct flow before, *after;
	bool is_anew, was_anew;

	/* Only what is a copy of the other. */
	if (!found || !entry || !entry->copied.state || !flow_is_same(&found->flow, &entry->flow))
		return 0;
	before = found->flow;
	after = &entry->flow;
	if ((__s32)(before.last_use_s - after->last_use_s) > 0)
		after->last_use_s = before.last_use_s;
	mark = flow_mark_of(&before);
	if (flow_mark_is(mark, entry->copied))
		return 0;
	if (key->direction == FLOW_ORIGINAL)
		flow_peer_key(key, &before, &reply_key);
	lock = tuple_lock_of(&reply_key);
	if (!lock)
		return 0;
	is_anew = before.state < FLOW_ESTABLISHED;
	bpf_spin_lock(&lock->lock);
	was_anew = after->state < FLOW_ESTABLISHED;
	if (flow_mark_is(flow_mark_of(after), entry->copied) || (is_anew && !was_anew))
		half_take(after, &before, key->proto);
	else if (is_anew == was_anew)
		half_join(after, &before, key->proto);
	/* To merge it once more changes nothing. */
	entry->copied = mark;
	bpf_spin_unlock(&lock->lock);
	return 0;
}

SEC("tc")
int fl_flows_merge(struct __sk_buff *skb)
{
	struct flow_key key;

	for (int i = 0; i < KEYS_A_RUN; i++) {
		if (bpf_skb_load_bytes(skb, i * sizeof(key), &key, sizeof(key)))
			break;
		(void)half_merge(&key);
	}
	return 0;
}
