/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Flows: pairs of rewrites, keyed by the tuple as it is seen on the wire. A new flow lives in
 * `new_flows` (LRU) until the first reply confirms it; then both halves move to `flows`, where
 * nothing is evicted and flow_sweep.h ends them. So a flood of new flows can only push out its
 * like. An expired entry counts as absent even before it is taken away. Each half can be made anew
 * from the other.
 */

#include <linux/errno.h>

#include "address.h"
#include "config.h"
#include "counter.h"
#include "packet.h"
#include "rewrite.h"
#include "route.h"
#include "service.h"

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

/* The other half's key: the rewritten tuple, turned round. */
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

/* The other half's value: it undoes this one, and shares all the rest. */
static __always_inline void flow_peer(const struct flow_key *key, const struct flow *flow,
				      struct flow *ret_peer)
{
	*ret_peer = *flow;
	ret_peer->new_src = key->dst;
	ret_peer->new_dst = key->src;
	ret_peer->new_src_port = key->dst_port;
	ret_peer->new_dst_port = key->src_port;
}

/* Looks among the confirmed flows, then among the new ones. */
static __always_inline struct flow *flow_find(const struct flow_key *key, bool *ret_is_confirmed)
{
	struct confirmed_flow *confirmed = bpf_map_lookup_elem(&flows, key);

	*ret_is_confirmed = confirmed;
	return confirmed ? &confirmed->flow : bpf_map_lookup_elem(&new_flows, key);
}

/* The VIP and the backend's address each know how many confirmed flows they have. */
static __always_inline void flow_count_confirmed(const struct flow_key *original_key,
						 const struct flow_key *reply_key, int change)
{
	address_count_flow(&original_key->dst, change);
	address_count_flow(&reply_key->src, change);
}

/*
 * The other half, or NULL: it was evicted. What stands in its place then may be of another flow,
 * which leads elsewhere.
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
 * A flow in the making, too large for the stack: one for each CPU. Programs of the hooks do not
 * interrupt each other on a CPU, so nobody else writes it meanwhile.
 */
struct flow_draft {
	/* As in struct decision, which is read from outside. */
	struct frontend_target target;
	struct client_place place;
	struct choice choice;
	struct packet packet;  /* the one that the program runs for */
	struct packet quote;   /* of an ICMP error; or what another packet carries */
	__u32 quote_end;       /* where the error ends that has it */
	struct ip_addr sender; /* of a packet that carried another */
	struct rewrite rewrite;
	struct rewrite inner; /* of a quote */
	struct route route;
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	} outer; /* header of a packet that carries another, or of an answer */
	struct icmp_answer answer;
	bool is_from_node; /* an address of this node is its source: not all ports are ours */
	struct flow_key original_key;
	struct flow_key reply_key;
	struct flow original;
	struct flow reply;
	struct confirmed_flow confirmed; /* as `flows` takes it */
	struct flow_check check;         /* one entry of `flow_checks` */
	struct flow_key peer_key;        /* of the other half, or of what an ICMP error is about */
};
_Static_assert(offsetof(struct flow_draft, choice) == offsetof(struct decision, choice) &&
		       offsetof(struct flow_draft, place) == offsetof(struct decision, place),
	       "a draft begins with the decision");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_draft);
} flow_drafts SEC(".maps");

static __always_inline struct flow_draft *flow_draft_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_drafts, &zero);
}

/* True if it was a confirmed half. */
static __always_inline bool flow_delete_half(const struct flow_key *key)
{
	(void)bpf_map_delete_elem(&new_flows, key);
	return !bpf_map_delete_elem(&flows, key);
}

/*
 * Ends a flow, both halves of it, in both tables. What `flow` points to may vanish with it; `key`
 * must not be part of that.
 */
static __noinline int flow_forget(const struct flow_key *key, const struct flow *flow)
{
	bool is_original = key->direction == FLOW_ORIGINAL;
	bool has_peer, peer_was_confirmed = false, was_confirmed;
	struct flow_draft *draft = flow_draft_get();
	struct flow_key *peer_key;

	if (!draft)
		return 0;
	peer_key = &draft->peer_key;
	has_peer = flow_find_peer(key, flow, peer_key);
	was_confirmed = flow_delete_half(key);
	if (has_peer)
		peer_was_confirmed = flow_delete_half(peer_key);
	if (is_original && was_confirmed)
		flow_count_confirmed(key, peer_key, -1);
	else if (!is_original && peer_was_confirmed)
		flow_count_confirmed(peer_key, key, -1);
	return 0;
}

/* True if two halves belong to one flow: the same client at the same frontend. */
static __always_inline bool flow_is_same(const struct flow *a, const struct flow *b)
{
	return address_equal(&a->new_src, &b->new_src) && address_equal(&a->new_dst, &b->new_dst) &&
	       a->new_src_port == b->new_src_port && a->new_dst_port == b->new_dst_port;
}

/* True if the reply half that has this key is of another flow, one that still needs it. */
static __always_inline bool flow_is_taken(const struct flow_key *key, const struct flow *holder,
					  const struct flow *reply)
{
	return !flow_is_same(holder, reply) && holder->state != FLOW_CLOSED &&
	       !flow_is_expired(holder, key->proto, reply->last_use_s);
}

/*
 * Claims the reply tuple of the draft. Two frontends with one backend and one client port want the
 * same one: only one gets it, the other must be told apart by another source port. Returns 0, or
 * -EEXIST: it is taken. A global function, which the verifier looks at once, not again for each way
 * that leads here. It finds the draft itself, for global functions take no pointers before Linux
 * 5.12, and none that may be key or value of a map before 6.2.
 *
 * A holder that is confirmed meanwhile is in `flows` before it leaves `new_flows`, and only then
 * can the claim succeed: hence the second look, after it.
 */
__noinline int flow_claim_reply(void)
{
	const struct flow_draft *draft = flow_draft_get();
	const struct confirmed_flow *confirmed;
	const struct flow *holder, *reply;
	const struct flow_key *key;
	int err;

	if (!draft)
		return -EEXIST;
	key = &draft->reply_key;
	reply = &draft->reply;
	confirmed = bpf_map_lookup_elem(&flows, key);
	if (confirmed) {
		if (flow_is_taken(key, &confirmed->flow, reply))
			return -EEXIST;
		(void)flow_forget(key, &confirmed->flow);
	}
	err = bpf_map_update_elem(&new_flows, key, reply, BPF_NOEXIST);
	if (err == -EEXIST) {
		holder = bpf_map_lookup_elem(&new_flows, key);
		if (holder && flow_is_taken(key, holder, reply))
			return -EEXIST;
		/* One that was evicted meanwhile may have left its place to another claim. */
		err = bpf_map_update_elem(&new_flows, key, reply, holder ? BPF_ANY : BPF_NOEXIST);
	}
	if (err)
		return err;
	confirmed = bpf_map_lookup_elem(&flows, key);
	if (!confirmed || flow_is_same(&confirmed->flow, reply))
		return 0;
	(void)bpf_map_delete_elem(&new_flows, key);
	return -EEXIST;
}

/*
 * Tells the other half that the flow is used. A new flow's halves can be evicted one by one:
 * whoever is left brings the other back.
 */
static __noinline int flow_touch_peer(const struct flow_key *key, const struct flow *flow,
				      bool is_confirmed)
{
	bool is_original = key->direction == FLOW_ORIGINAL;
	struct flow_draft *draft = flow_draft_get();
	struct flow_key peer_key;
	struct flow *peer;
	__u32 until_s;

	peer = flow_find_peer(key, flow, &peer_key);
	if (peer)
		peer->last_use_s = flow->last_use_s;
	if (is_confirmed || !draft)
		return 0;
	if (!peer && !(flow->flags & FLOW_DSR)) {
		flow_peer(key, flow, &draft->reply);
		(void)bpf_map_update_elem(&new_flows, &peer_key, &draft->reply, BPF_NOEXIST);
	}
	until_s = flow->last_use_s + flow_timeout_s(key->proto, flow->state);
	address_expect_flows(is_original ? &key->dst : &peer_key.dst, until_s);
	address_expect_flows(is_original ? &peer_key.src : &key->src, until_s);
	return 0;
}

/*
 * Notes that a flow is used, in both halves, for it lives as long as either side speaks; at most
 * once a second, for a store that nobody needs costs a cache line.
 */
static __always_inline void flow_touch(const struct flow_key *key, struct flow *flow,
				       bool is_confirmed, __u32 now_s)
{
	if (flow->last_use_s == now_s)
		return;
	flow->last_use_s = now_s;
	(void)flow_touch_peer(key, flow, is_confirmed);
}

/* What a TCP segment makes of its flow's state (RFC 9293, 3.3.2, seen from the middle). */
static __always_inline __u8 flow_next_state(struct flow *flow, __u8 tcp_flags,
					    enum flow_direction direction)
{
	const __u8 both = FLOW_FIN_ORIGINAL | FLOW_FIN_REPLY;

	if (tcp_flags & TCP_RST || flow->state == FLOW_CLOSED)
		return FLOW_CLOSED;
	if (tcp_flags & TCP_FIN) {
		flow->flags |= direction == FLOW_ORIGINAL ? FLOW_FIN_ORIGINAL : FLOW_FIN_REPLY;
		return (flow->flags & both) == both ? FLOW_CLOSED : FLOW_CLOSING;
	}
	if (flow->state == FLOW_NEW && direction == FLOW_REPLY)
		return FLOW_REPLIED;
	if (flow->state == FLOW_REPLIED && direction == FLOW_ORIGINAL &&
	    (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK)
		return FLOW_ESTABLISHED;
	return flow->state;
}

/*
 * What an SCTP packet makes of its flow's state (RFC 9260, 4): INIT ACK answers, COOKIE ECHO ends
 * the handshake, and either side may close.
 */
static __always_inline __u8 flow_next_state_sctp(const struct flow *flow, __u8 chunk,
						 enum flow_direction direction)
{
	if (chunk == SCTP_ABORT || chunk == SCTP_SHUTDOWN_COMPLETE || flow->state == FLOW_CLOSED)
		return FLOW_CLOSED;
	if (chunk == SCTP_SHUTDOWN || chunk == SCTP_SHUTDOWN_ACK)
		return FLOW_CLOSING;
	if (flow->state == FLOW_NEW && direction == FLOW_REPLY)
		return FLOW_REPLIED;
	if (flow->state == FLOW_REPLIED && direction == FLOW_ORIGINAL && chunk != SCTP_INIT)
		return FLOW_ESTABLISHED;
	return flow->state;
}

/* Both halves know the state; it changes a few times in a flow's life. */
static __noinline int flow_share_state(const struct flow_key *key, const struct flow *flow)
{
	struct flow_key peer_key;
	struct flow *peer;

	peer = flow_find_peer(key, flow, &peer_key);
	if (peer) {
		peer->state = flow->state;
		peer->flags = flow->flags;
	}
	return 0;
}

/* Follows the conversation: what this packet makes of the flow. */
static __always_inline void flow_follow(const struct flow_key *key, struct flow *flow,
					const struct packet *packet)
{
	__u8 flags = flow->flags, state;

	if (packet->fragment == FRAGMENT_LATER)
		return;
	if (key->proto == IPPROTO_TCP)
		state = flow_next_state(flow, packet->tcp_flags, key->direction);
	else if (key->proto == IPPROTO_SCTP)
		state = flow_next_state_sctp(flow, packet->sctp_chunk, key->direction);
	else if (key->direction == FLOW_REPLY)
		state = flow->state == FLOW_NEW ? FLOW_REPLIED : flow->state;
	else
		state = flow->state == FLOW_REPLIED ? FLOW_ESTABLISHED : flow->state;
	if (state == flow->state && flags == flow->flags)
		return;
	flow->state = state;
	(void)flow_share_state(key, flow);
}
