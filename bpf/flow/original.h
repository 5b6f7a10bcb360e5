/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Decides what a packet may do with the flow that it belongs to. */

#include "flow/confirm.h"
#include "flow/create.h"
#include "flow/end.h"
#include "flow/follow.h"
#include "service/node_ports_used.h"
#include "service/select.h"

enum flow_use {
	FLOW_GO_ON,
	FLOW_ANEW,   /* the flow is over: the packet opens another one */
	FLOW_MOVE,   /* its backend left the list: choose another one */
	FLOW_REFUSE, /* its backend is gone, and the TCP client must learn it */
};

/*
 * True if the flow's source NAT address has left the node, so that replies no longer arrive here.
 * Then only the client's packets refresh the time of last use, so the check is made about once a
 * second.
 */
static __always_inline bool flow_lost_source(const struct flow *flow, __u32 now_s)
{
	const struct address_info *source;

	if (!(flow->flags & FLOW_SOURCE_NAT) || flow->last_use_s == now_s)
		return false;
	source = address_lookup(&flow->new_src);
	return !source || !(source->flags & ADDRESS_NODE);
}

/*
 * True if the flow's backend is still in the list that applies to its client. Updates the flow's
 * slot if the backend's place in the list has changed.
 */
static __always_inline bool flow_is_wanted(struct flow *flow, struct flow *entry,
					   const struct address_info *address)
{
	__u32 slot = flow->slot;

	if (!(address->flags & ADDRESS_SERVED) ||
	    !service_still_has(flow->service, (struct list_for){flow->kind, flow->is_near},
			       flow->backend, flow->generation, &flow->slot))
		return false;
	if (flow->slot != slot)
		entry->slot = flow->slot;
	return true;
}

/*
 * Decides on a packet in the original direction. A SYN on a live connection follows that
 * connection: only its backend can tell whether the client sent it.
 */
static __always_inline enum flow_use flow_use_of(const struct packet *packet, struct flow *flow,
						 struct flow *entry,
						 const struct address_info *address)
{
	bool has_handshake = proto_has_handshake(packet->proto);
	bool opens = has_handshake && packet_opens(packet) && packet->fragment != FRAGMENT_LATER;
	__u32 now_s = now_seconds();

	if (flow_is_expired(flow, packet->proto, now_s) || flow_lost_source(flow, now_s))
		return FLOW_ANEW;
	if (opens && flow->state == FLOW_CLOSED)
		return FLOW_ANEW;
	/*
	 * Another node chose the backend of packets that came through it; this packet came
	 * directly.
	 */
	if (flow->flags & FLOW_DSR_RECEIVED)
		return has_handshake && (!opens || flow->state >= FLOW_ESTABLISHED) ? FLOW_GO_ON
										    : FLOW_ANEW;
	if (!has_handshake || (opens && flow->state < FLOW_ESTABLISHED))
		return flow_is_wanted(flow, entry, address) ? FLOW_GO_ON : FLOW_MOVE;
	if (backend_is_alive(flow->backend, flow->generation))
		return FLOW_GO_ON;
	/* The last acknowledgement, or what is sent once more: else the backend waits for it. */
	if (flow->state == FLOW_CLOSED)
		return FLOW_GO_ON;
	return opens ? FLOW_MOVE : FLOW_REFUSE;
}

/* Looks up the flow of a client's packet by draft->original_key; returns as flow_look(). */
static __always_inline struct flow *
original_entry(struct flow_draft *draft, const struct packet *packet, bool *ret_is_confirmed)
{
	struct flow *entry = flow_look(&draft->original_key, &draft->original, ret_is_confirmed);

	/* It may have moved from one table to the other between the two lookups. */
	if (!entry && !packet_opens(packet))
		entry = flow_look(&draft->original_key, &draft->original, ret_is_confirmed);
	return entry;
}

/*
 * Uses the flow of draft->original for a client's packet: updates its state. A client's answer to
 * the backend's reply makes the flow due for confirmation.
 */
static __noinline int flow_go_on(struct flow_draft *draft, struct flow *entry,
				 const struct packet *packet, bool is_confirmed)
{
	struct flow *flow = &draft->original;

	flow_follow(&draft->original_key, flow, entry, packet, is_confirmed);
	if (!is_confirmed && (flow->state == FLOW_ESTABLISHED || flow->state == FLOW_CLOSING))
		draft->due = FLOW_DUE_CONFIRM;
	return 0;
}

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
 * draft->reply. Returns 1 if there is a flow, or 0: the packet is not ours. A global function, so
 * the verifier checks it once: see flow_end_held().
 */
__noinline int reply_find(void)
{
	struct flow_draft *draft = flow_draft_get();
	const struct packet *packet;
	struct flow_key *key;
	struct flow *entry;
	bool is_confirmed;

	if (!draft)
		return 0;
	packet = &draft->packet;
	key = &draft->reply_key;
	packet_flow_key(packet, FLOW_REPLY, key);
	entry = flow_look(key, &draft->reply, &is_confirmed);
	if (!entry && tuple_has_moved(key))
		entry = flow_look(key, &draft->reply, &is_confirmed);
	if (!entry || flow_is_expired(&draft->reply, key->proto, now_seconds()))
		return 0;
	if (is_challenge(packet, &draft->reply)) {
		draft->due = FLOW_DUE_NEW_PORT;
		return 0;
	}
	flow_follow(key, &draft->reply, entry, packet, is_confirmed);
	return 1;
}

/* The flow to which the packet belongs as a backend's reply, or NULL. */
static __always_inline const struct flow *reply_flow(void)
{
	struct flow_draft *draft = flow_draft_get();

	return draft && reply_find() ? &draft->reply : NULL;
}

/* Gives the flow of draft->reply another source port; the client's next SYN uses it. */
static __always_inline int flow_change_port(void *ctx, struct flow_draft *draft)
{
	const struct address_info *source;

	if (!flow_forget(FLOW_REPLY, FLOW_LEAVES_NOTHING))
		return 0;
	draft->original_key = draft->ended.original_key;
	draft->original = draft->ended.original;
	source = address_lookup(&draft->original.new_src);
	draft->is_from_node = source && source->flags & ADDRESS_NODE;
	counter_add(COUNTER_TUPLE_CHANGED, 0);
	return flow_enter(ctx, draft, false);
}

/* Does the work on the flow that was deferred while its packet was handled. */
static __always_inline int flow_settle(void *ctx, struct flow_draft *draft)
{
	if (draft->due == FLOW_DUE_CONFIRM)
		return flow_confirm(draft);
	return draft->due == FLOW_DUE_NEW_PORT ? flow_change_port(ctx, draft) : 0;
}
