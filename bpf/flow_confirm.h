/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* How flows come from `new_flows` to `flows`. */

#include "flow.h"
#include "flow_sweep.h"

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
 * The first reply came: moves the flow from `new_flows` to `flows`. draft->reply_key and
 * draft->reply are given, the other half is made from them. Where the table is full the flow stays
 * what it is, and that is counted.
 */
static __noinline int flow_confirm(struct flow_draft *draft)
{
	int err;

	flow_peer_key(&draft->reply_key, &draft->reply, &draft->original_key);
	flow_peer(&draft->reply_key, &draft->reply, &draft->original);
	if (!flow_check_has_room())
		goto full;
	err = flow_insert_confirmed(draft, &draft->reply_key, &draft->reply);
	if (err && err != -EEXIST)
		goto full;
	err = flow_insert_original(draft);
	if (err && err != -EEXIST) {
		(void)bpf_map_delete_elem(&flows, &draft->reply_key);
		goto full;
	}
	(void)bpf_map_delete_elem(&new_flows, &draft->reply_key);
	(void)bpf_map_delete_elem(&new_flows, &draft->original_key);
	return 0;
full:
	flow_find_full();
	return 0;
}
