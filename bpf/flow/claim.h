/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The reply tuple of a new flow: two frontends with the same backend and the same client port want
 * the same one. One gets it, the other needs another source port to be told apart.
 */

#include <linux/errno.h>

#include "flow/direct.h"
#include "flow/end.h"
#include "flow/flow.h"

/* Whether a new flow has got the reply tuple that it needs. */
enum claim {
	CLAIM_GRANTED,
	CLAIM_TAKEN,  /* by another flow or a socket of the node; or another CPU holds the lock */
	CLAIM_FAILED, /* `new_flows` takes no entry */
};

/*
 * True if the new flow's reply tuple may be taken from the flow that holds it; copies the holder to
 * claim->holder. A holder that is not established yet, or is closed, gives way only to a flow that
 * found no other port (`displaces`). Of several such holders the one unused longest goes first, so
 * it is remembered.
 */
static __always_inline bool tuple_may_be_taken(const struct flow_pair *pair,
					       struct claim_scratch *claim, bool displaces)
{
	const struct flow *reply = &pair->reply, *holder = &claim->holder;
	const struct flow_key *key = &pair->reply_key;
	bool is_confirmed;

	if (!flow_read(key, &claim->holder, &is_confirmed)) {
		claim->holder = *reply; /* there is no holder */
		return true;
	}
	if (flow_is_same(holder, reply) || flow_is_expired(holder, key->proto, reply->last_use_s))
		return true;
	if (holder->state != FLOW_CLOSED && (is_confirmed || holder->state >= FLOW_ESTABLISHED))
		return false;
	if (displaces)
		return true;
	if (!claim->has_oldest || (__s32)(holder->last_use_s - claim->oldest_use_s) < 0) {
		claim->has_oldest = true;
		claim->oldest_port = key->dst_port;
		claim->oldest_use_s = holder->last_use_s;
	}
	return false;
}

/*
 * Inserts the new flow's reply half unless the tuple is taken. A flow that is being confirmed
 * enters `flows` before it leaves `new_flows`, and only after that can this insertion succeed:
 * hence the second look into `flows` afterwards.
 */
static __always_inline enum claim tuple_insert(const struct flow_pair *pair)
{
	const struct flow_key *key = &pair->reply_key;
	int err = bpf_map_update_elem(&new_flows, key, &pair->reply, BPF_NOEXIST);

	if (err)
		return err == -EEXIST ? CLAIM_TAKEN : CLAIM_FAILED;
	if (!bpf_map_lookup_elem(&flows, key))
		return CLAIM_GRANTED;
	(void)flow_delete_half(&new_flows, key, &pair->reply);
	return CLAIM_TAKEN;
}

/* Takes the new flow's reply tuple over from the flow that holds it. */
static __always_inline enum claim tuple_take_over(struct scratch *scratch, bool displaces)
{
	enum claim claim = CLAIM_TAKEN;
	struct tuple_lock *lock;

	if (!tuple_may_be_taken(&scratch->pair, &scratch->claim, displaces))
		return CLAIM_TAKEN;
	lock = tuple_lock_of(&scratch->pair.reply_key);
	if (!lock || !tuple_lock_hold(lock))
		return CLAIM_TAKEN;
	/* Another CPU may have taken it since. */
	if (tuple_may_be_taken(&scratch->pair, &scratch->claim, displaces)) {
		flow_pair_of_reply(&scratch->ended, &scratch->pair.reply_key,
				   &scratch->claim.holder);
		(void)flow_end_held(FLOW_LEAVES_NOTHING);
		claim = tuple_insert(&scratch->pair);
	}
	tuple_lock_release(lock);
	return claim;
}

/* Claims the new flow's reply tuple. A global function for the reasons given at flow_end_held(). */
__noinline enum claim flow_claim_reply(__u32 displaces)
{
	struct scratch *scratch = scratch_get();
	enum claim claim;

	if (!scratch)
		return CLAIM_TAKEN;
	scratch->pair.reply.check = flow_check_of(&scratch->pair.reply_key);
	if (!bpf_map_lookup_elem(&flows, &scratch->pair.reply_key)) {
		claim = tuple_insert(&scratch->pair);
		if (claim != CLAIM_TAKEN)
			return claim;
	}
	return tuple_take_over(scratch, displaces);
}

/* True if a flow may use this port as its source port at an address of this node. */
static __always_inline bool port_may_be_used(__be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number && number <= config.source_port_max;
}

/*
 * Picks a port outside the node's own range. Below that range only servers have ports, and no
 * backend's reply has their tuples; above it nobody does. With `of_all`, a port of the node's own
 * range may be picked as well.
 */
static __always_inline __be16 port_pick(bool of_all)
{
	__u32 high = config.source_port_max - config.source_port_min + 1, low = 0, pick;

	if (config.low_port_min && config.low_port_min < config.host_port_min)
		low = (of_all ? config.source_port_min : config.host_port_min) -
		      config.low_port_min;
	pick = bpf_get_prandom_u32() % (low + high);
	return bpf_htons(pick < low ? config.low_port_min + pick
				    : config.source_port_min + pick - low);
}

/* True if a socket of this node has the tuple that the backend's replies would have. */
static __noinline bool tuple_is_of_socket(void *ctx, const struct flow_key *reply_key)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = flow_key_socket_tuple(reply_key, &tuple);
	struct bpf_sock *sock;

	if (reply_key->proto == IPPROTO_TCP)
		sock = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (reply_key->proto == IPPROTO_UDP)
		sock = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!sock)
		return false;
	bpf_sk_release(sock);
	return true;
}

/*
 * True if a socket of this node may use this port as a client. UDP sockets outside the range from
 * which the kernel assigns ports are servers. Looking them up would cost a tenth of a new flow; if
 * such a server does send to one of our backends, that conversation gets another port
 * (FLOW_DIRECT).
 */
static __always_inline bool socket_may_have(__u8 proto, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return proto == IPPROTO_TCP ||
	       (number >= config.host_port_min && number < config.source_port_min);
}

/* Claims the new flow's reply tuple with this source port. */
static __always_inline enum claim flow_claim_port(struct scratch *scratch, __be16 port,
						  bool displaces)
{
	scratch->pair.original.new_src_port = port;
	scratch->pair.reply_key.dst_port = port;
	return flow_claim_reply(displaces);
}

/*
 * True if the new flow may keep its client's own source port, provided that no other flow has it.
 * At an address of this node the port must be one that flows may use; and the client must not be
 * using it for datagrams straight to the backend.
 */
static __noinline bool port_may_be_kept(const struct scratch *scratch)
{
	if (scratch->claim.is_from_node && !port_may_be_used(scratch->pair.original.new_src_port))
		return false;
	return scratch->pair.original_key.proto != IPPROTO_UDP ||
	       !direct_is_awaited(&scratch->pair.reply_key, scratch->pair.original.last_use_s);
}

/* Like flow_claim_port(), for a port that a socket of this node may have. */
static __always_inline enum claim flow_claim_sockets_port(void *ctx, struct scratch *scratch,
							  __be16 port)
{
	scratch->pair.reply_key.dst_port = port;
	if (scratch->claim.is_from_node &&
	    socket_may_have(scratch->pair.original_key.proto, port) &&
	    tuple_is_of_socket(ctx, &scratch->pair.reply_key))
		return CLAIM_TAKEN;
	return flow_claim_port(scratch, port, false);
}

/*
 * Claims the reply tuple, with the flow's own source port if that is free, otherwise with another
 * port. If no free port is found, a flow that is not established yet, or is closed, is displaced.
 * Returns 0 or -enum counter_reason.
 */
static __noinline int flow_claim(void *ctx, struct scratch *scratch, bool keeps_port)
{
	__be16 port = scratch->pair.original.new_src_port;
	enum claim claim = CLAIM_TAKEN;

	flow_peer_key(&scratch->pair.original_key, &scratch->pair.original,
		      &scratch->pair.reply_key);
	flow_peer(&scratch->pair.original_key, &scratch->pair.original, &scratch->pair.reply);
	scratch->claim.has_oldest = false;
	if (keeps_port && port_may_be_kept(scratch))
		claim = flow_claim_sockets_port(ctx, scratch, port);
	for (int attempt = 0; attempt < PORT_TRIES && claim == CLAIM_TAKEN; attempt++)
		claim = flow_claim_port(scratch, port_pick(false), false);
	for (int attempt = 0; attempt < NODE_PORT_TRIES && claim == CLAIM_TAKEN; attempt++)
		claim = flow_claim_sockets_port(ctx, scratch, port_pick(true));
	if (claim == CLAIM_TAKEN && scratch->claim.has_oldest)
		claim = flow_claim_port(scratch, scratch->claim.oldest_port, true);
	if (claim == CLAIM_GRANTED)
		return 0;
	return claim == CLAIM_TAKEN ? -COUNTER_DROP_NO_PORT_FREE : -COUNTER_DROP_NEW_FLOWS;
}
