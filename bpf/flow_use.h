/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* What packets may do with the flow that they belong to. */

#include "flow.h"
#include "flow_confirm.h"
#include "node_port.h"
#include "service.h"

enum flow_use {
	FLOW_GO_ON,
	FLOW_ANEW,   /* it is over: this packet opens another one */
	FLOW_MOVE,   /* its backend left: choose another one */
	FLOW_REFUSE, /* its backend is gone, and TCP must learn */
};

/*
 * True if the address of this node that took the client's place has left the node: no reply finds
 * the way here. Only the client's packets note the time then, so once a second one of them asks.
 */
static __always_inline bool flow_lost_source(const struct flow *flow, __u32 now_s)
{
	const struct address_info *source;

	if (!(flow->flags & FLOW_SOURCE_NAT) || flow->last_use_s == now_s)
		return false;
	source = address_lookup(&flow->new_src);
	return !source || !(source->flags & ADDRESS_NODE);
}

/* What an original packet may do with the flow it belongs to. */
static __always_inline enum flow_use flow_use_of(const struct packet *packet, struct flow *flow,
						 const struct address_info *address)
{
	bool opens = proto_has_handshake(packet->proto) && packet_opens(packet) &&
		     packet->fragment != FRAGMENT_LATER;
	__u32 now_s = now_seconds();

	if (flow_is_expired(flow, packet->proto, now_s) || flow_lost_source(flow, now_s))
		return FLOW_ANEW;
	/*
	 * A SYN again goes where the first went; a SYN on a connection that was made is another
	 * one.
	 */
	if (opens && flow->state >= FLOW_ESTABLISHED)
		return FLOW_ANEW;
	/* Another node chose for packets that came through it; this one comes from outside. */
	if (flow->flags & FLOW_DSR_RECEIVED)
		return !proto_has_handshake(packet->proto) || opens ? FLOW_ANEW : FLOW_GO_ON;
	if (!proto_has_handshake(packet->proto) || opens)
		return address->flags & ADDRESS_SERVED &&
				       service_still_has(
					       flow->service,
					       (struct list_for){flow->kind, flow->is_near},
					       flow->backend, flow->generation, &flow->slot)
			       ? FLOW_GO_ON
			       : FLOW_MOVE;
	return backend_is_alive(flow->backend, flow->generation) ? FLOW_GO_ON : FLOW_REFUSE;
}

/*
 * The flow that a packet from its backend belongs to, or NULL: what belongs to no flow is not ours.
 * The first reply confirms the flow, unless it ends it.
 */
static __noinline const struct flow *reply_flow(const struct packet *packet)
{
	struct flow_draft *draft = flow_draft_get();
	__u32 now_s = now_seconds();
	struct flow_key *key;
	struct flow *flow;
	bool is_confirmed;

	if (!draft)
		return NULL;
	key = &draft->reply_key;
	packet_flow_key(packet, FLOW_REPLY, key);
	flow = flow_find(key, &is_confirmed);
	if (!flow || flow_is_expired(flow, key->proto, now_s))
		return NULL;
	flow_touch(key, flow, is_confirmed, now_s);
	flow_follow(key, flow, packet);
	if (is_confirmed || flow->state == FLOW_CLOSED)
		return flow;
	/* Confirming deletes the new flow, whose memory may then be another's. */
	draft->reply = *flow;
	(void)flow_confirm(draft);
	return &draft->reply;
}
