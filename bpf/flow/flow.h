/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Flows: pairs of rewrites, keyed by the tuple as it is seen on the wire. A new flow lives in
 * `new_flows` (LRU) until the client has answered the backend's reply. Then both halves move to
 * `flows`, where nothing is evicted and flow/sweep.h removes what has expired. So a flood of new
 * flows can evict only other new flows. An expired entry counts as absent even before it is
 * removed. Each half can be rebuilt from the other.
 */

#include <linux/errno.h>

#include "packet/address.h"
#include "fairlead/atomic.h"
#include "config.h"
#include "counter.h"
#include "scratch.h"
#include "flow/key.h"
#include "packet/packet.h"
#include "flow/tuple_lock.h"

/*
 * The flow's original packets leave with a source of this node: one of its addresses, or a VIP that
 * may be one.
 */
#define FLOW_FROM_NODE (FLOW_HAIRPIN | FLOW_LOCAL_CLIENT | FLOW_SOURCE_NAT)

static __always_inline __u32 flow_timeout_sctp_s(__u8 state)
{
	if (state < FLOW_ESTABLISHED)
		return TIMEOUT_SCTP_NEW_S;
	return state == FLOW_ESTABLISHED ? TIMEOUT_SCTP_ESTABLISHED_S : TIMEOUT_SCTP_CLOSED_S;
}

static __always_inline __u32 flow_timeout_s(__u8 proto, __u8 state)
{
	if (proto == IPPROTO_SCTP)
		return flow_timeout_sctp_s(state);
	if (proto != IPPROTO_TCP)
		return state == FLOW_ESTABLISHED ? config.timeout_udp_s : config.timeout_udp_new_s;
	switch (state) {
	case FLOW_ESTABLISHED:
		return config.timeout_tcp_established_s;
	case FLOW_CLOSING:
		return config.timeout_tcp_closing_s;
	case FLOW_CLOSED:
		return config.timeout_tcp_closed_s;
	default:
		return config.timeout_tcp_new_s;
	}
}

static __always_inline bool flow_is_expired(const struct flow *flow, __u8 proto, __u32 now_s)
{
	return (__s32)(now_s - flow->last_use_s) > (__s32)flow_timeout_s(proto, flow->state);
}

/* True if a datagram seen at `seen_s`, outside any flow, may still be answered. */
static __always_inline bool datagram_is_recent(__u32 seen_s, __u32 now_s)
{
	return (__s32)(now_s - seen_s) <= (__s32)config.timeout_udp_s;
}

/* The value of the `check` field of struct flow: the upper half of the key's hash. */
static __always_inline __u16 flow_check_of(const struct flow_key *key)
{
	return flow_key_hash(key) >> 16;
}

/* The other half's key: the rewritten tuple, reversed. */
static __always_inline void flow_peer_key(const struct flow_key *key, const struct flow *flow,
					  struct flow_key *ret_peer)
{
	__builtin_memset(ret_peer, 0, sizeof(*ret_peer));
	ret_peer->src = flow->new_dst;
	ret_peer->dst = flow->new_src;
	ret_peer->src_port = flow->new_dst_port;
	ret_peer->dst_port = flow->new_src_port;
	ret_peer->proto = key->proto;
	ret_peer->direction = key->direction == FLOW_ORIGINAL ? FLOW_REPLY : FLOW_ORIGINAL;
}

/*
 * The other half's value: it undoes this half's rewrite and shares everything else. What this side
 * has acknowledged is what the other side has sent.
 */
static __always_inline void flow_peer(const struct flow_key *key, const struct flow *flow,
				      struct flow *ret_peer)
{
	*ret_peer = *flow;
	ret_peer->new_src = key->dst;
	ret_peer->new_dst = key->src;
	ret_peer->new_src_port = key->dst_port;
	ret_peer->new_dst_port = key->src_port;
	ret_peer->sent = flow->acked;
	ret_peer->acked = flow->sent;
}

/* Looks up the confirmed flows, then the new ones. */
static __always_inline struct flow *flow_find(const struct flow_key *key, bool *ret_is_confirmed)
{
	struct confirmed_flow *confirmed = bpf_map_lookup_elem(&flows, key);

	*ret_is_confirmed = confirmed;
	return confirmed ? &confirmed->flow : bpf_map_lookup_elem(&new_flows, key);
}

/*
 * Copies the flow of a key. Both tables reuse the memory of a deleted entry at once, perhaps while
 * it is being read. So callers work on the copy only, and write changes to the entry. Returns the
 * entry, or NULL if there is none.
 */
static __noinline struct flow *flow_read(const struct flow_key *key, struct flow *ret_flow,
					 bool *ret_is_confirmed)
{
	__u16 check = flow_check_of(key);
	struct flow *entry;

	/* Otherwise the compiler keeps the inputs of the hash on the stack, which is scarce. */
	asm volatile("" : "+r"(check));
	for (int i = 0; i < 2; i++) {
		entry = flow_find(key, ret_is_confirmed);
		if (!entry)
			return NULL;
		*ret_flow = *entry;
		barrier();
		if (READ_ONCE(entry->check) == check)
			return entry;
	}
	return NULL;
}

/* The VIP and the backend's address each count their confirmed flows. */
static __always_inline void flow_count_confirmed(const struct flow_key *original_key,
						 const struct flow_key *reply_key, int change)
{
	address_count_flow(&original_key->dst, change);
	address_count_flow(&reply_key->src, change);
}

/*
 * True if two values rewrite to the same tuple. Compares one half as read earlier with what the
 * table holds now.
 */
static __always_inline bool flow_is_same(const struct flow *a, const struct flow *b)
{
	return address_equal(&a->new_src, &b->new_src) && address_equal(&a->new_dst, &b->new_dst) &&
	       a->new_src_port == b->new_src_port && a->new_dst_port == b->new_dst_port;
}

/*
 * Finds the other half, or returns NULL if it was evicted. An entry found under its key may belong
 * to another flow, which rewrites to other addresses.
 */
static __always_inline struct flow *
flow_find_peer(const struct flow_key *key, const struct flow *flow, struct flow_key *ret_peer_key)
{
	bool is_confirmed;
	struct flow *peer;

	flow_peer_key(key, flow, ret_peer_key);
	peer = flow_find(ret_peer_key, &is_confirmed);
	if (!peer || !address_equal(&peer->new_src, &key->dst) ||
	    !address_equal(&peer->new_dst, &key->src) || peer->new_src_port != key->dst_port ||
	    peer->new_dst_port != key->src_port)
		return NULL;
	return peer;
}

/*
 * Updates the other half's time of last use. A new flow's halves can be evicted independently: the
 * surviving half restores the other.
 */
static __noinline int flow_touch_peer(const struct flow_key *key, const struct flow *flow,
				      bool is_confirmed)
{
	bool is_original = key->direction == FLOW_ORIGINAL;
	struct scratch *scratch = scratch_get();
	struct flow_key *peer_key;
	struct flow *peer;
	__u32 until_s;

	if (!scratch)
		return 0;
	peer_key = &scratch->peer_key;
	peer = flow_find_peer(key, flow, peer_key);
	if (peer)
		peer->last_use_s = flow->last_use_s;
	until_s = flow->last_use_s + flow_timeout_s(key->proto, flow->state);
	if (flow->flags & FLOW_DIRECT)
		address_expect_direct_flows(is_original ? &key->dst : &key->src, until_s);
	if (is_confirmed)
		return 0;
	if (!peer && !(flow->flags & FLOW_DSR)) {
		flow_peer(key, flow, &scratch->restored);
		scratch->restored.check = flow_check_of(peer_key);
		(void)bpf_map_update_elem(&new_flows, peer_key, &scratch->restored, BPF_NOEXIST);
	}
	address_expect_flows(is_original ? &key->dst : &peer_key->dst, until_s);
	address_expect_flows(is_original ? &peer_key->src : &key->src, until_s);
	return 0;
}

/*
 * Updates the time of last use in both halves, because a flow lives as long as either side speaks.
 * At most once a second: each store costs a cache line.
 */
static __always_inline void flow_touch(const struct flow_key *key, struct flow *flow,
				       struct flow *entry, bool is_confirmed, __u32 now_s)
{
	if (flow->last_use_s == now_s)
		return;
	flow->last_use_s = now_s;
	entry->last_use_s = now_s;
	(void)flow_touch_peer(key, flow, is_confirmed);
}
