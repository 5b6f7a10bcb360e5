/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Finds the flow that a packet belongs to as a backend's reply. */

#include "flow/follow.h"
#include "flow/tuple_lock.h"

/*
 * True if the backend answers a SYN with an ACK of something else (a challenge ACK, RFC 5961, 4):
 * it has another connection with this tuple, perhaps one that the client opened directly, perhaps
 * in TIME_WAIT.
 */
static __always_inline bool is_challenge(const struct packet *packet, const struct flow *reply)
{
	return packet->proto == IPPROTO_TCP && packet->fragment == FRAGMENT_NONE &&
	       reply->state == FLOW_NEW &&
	       (packet->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK &&
	       packet->acknowledged != reply->acked;
}

/* True if a flow may have moved from one table to the other during the lookup. */
static __always_inline bool tuple_has_moved(const struct flow_key *reply_key)
{
	const struct tuple_lock *lock = tuple_lock_of(reply_key);

	return lock && lock->moved == flow_key_hash(reply_key);
}

/*
 * Looks up the flow of this CPU's packet, taken as a backend's reply, and leaves it in
 * scratch->pair.reply. Returns 1 if there is a flow, or 0: the packet is not ours. A global
 * function, so the verifier checks it once: see flow_end_held().
 */
__noinline int reply_find(void)
{
	struct scratch *scratch = scratch_get();
	const struct packet *packet;
	struct flow_key *key;
	struct flow *entry;
	bool is_confirmed;

	if (!scratch)
		return 0;
	packet = &scratch->packet;
	key = &scratch->pair.reply_key;
	packet_flow_key(packet, FLOW_REPLY, key);
	entry = flow_read(key, &scratch->pair.reply, &is_confirmed);
	if (!entry && tuple_has_moved(key))
		entry = flow_read(key, &scratch->pair.reply, &is_confirmed);
	if (!entry || flow_is_expired(&scratch->pair.reply, key->proto, now_seconds()))
		return 0;
	if (is_challenge(packet, &scratch->pair.reply)) {
		scratch->due = FLOW_DUE_NEW_PORT;
		return 0;
	}
	flow_follow(key, &scratch->pair.reply, entry, packet, is_confirmed);
	return 1;
}

/* The flow to which the packet belongs as a backend's reply, or NULL. */
static __always_inline const struct flow *reply_flow(void)
{
	struct scratch *scratch = scratch_get();

	return scratch && reply_find() ? &scratch->pair.reply : NULL;
}
