/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Decides what a client's packet may do with the flow that it belongs to. */

#include "flow/end.h"
#include "flow/follow.h"
#include "service/address_kind.h"
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
