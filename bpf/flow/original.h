/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * A client's packet to a VIP, as every hook that sees packets decides on it: what it may do with
 * its flow, and whether it opens another one.
 */

#include "counter.h"
#include "flow/create.h"
#include "flow/end.h"
#include "flow/follow.h"
#include "flow/own_ports.h"
#include "service/client.h"
#include "service/select.h"
#include "verdict.h"

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

/*
 * Looks up the flow of a client's packet, into the original half of `ret_pair`; returns as
 * flow_read().
 */
static __always_inline struct flow *
original_find(const struct packet *packet, struct flow_pair *ret_pair, bool *ret_is_confirmed)
{
	struct flow *entry;

	packet_flow_key(packet, FLOW_ORIGINAL, &ret_pair->original_key);
	entry = flow_read(&ret_pair->original_key, &ret_pair->original, ret_is_confirmed);
	/* It may have moved from one table to the other between the two lookups. */
	if (!entry && !packet_opens(packet))
		entry = flow_read(&ret_pair->original_key, &ret_pair->original, ret_is_confirmed);
	return entry;
}

/*
 * Uses the flow of scratch->pair.original for a client's packet: updates its state. A client's
 * answer to the backend's reply makes the flow due for confirmation.
 */
static __noinline int flow_go_on(struct scratch *scratch, struct flow *entry,
				 const struct packet *packet, bool is_confirmed)
{
	struct flow *flow = &scratch->pair.original;

	flow_follow(&scratch->pair.original_key, flow, entry, packet, is_confirmed);
	if (!is_confirmed && (flow->state == FLOW_ESTABLISHED || flow->state == FLOW_CLOSING))
		scratch->due = FLOW_DUE_CONFIRM;
	return 0;
}

/*
 * Ends the flow of scratch->pair.original, which its client's packet does not follow, and counts
 * the packet if it moves to another backend. Returns false if another CPU holds the flow's lock:
 * see flow_end().
 */
static __noinline bool original_end(const struct scratch *scratch, enum flow_use use,
				    const struct hook *hook)
{
	if (!flow_end(FLOW_ORIGINAL, scratch->pair.original.state == FLOW_CLOSED
					     ? FLOW_LEAVES_REPLY
					     : FLOW_LEAVES_NOTHING))
		return false;
	if (use == FLOW_MOVE)
		counter_add(COUNTER_RESELECTED, hook->size);
	return true;
}

/*
 * Chooses the backend of a packet that opens a flow to a frontend: checks the source ranges, finds
 * out where the client is, and lets service_select() choose (service/select.h). Every hook that
 * sees packets chooses by this function. Returns 0 or -enum counter_reason.
 */
static __noinline int original_choose_backend(const struct packet *packet, const struct hook *hook,
					      const struct frontend_target *target,
					      struct decision *ret_decision)
{
	struct client client = {.addr = packet->src, .kind = AFFINITY_ADDRESS};

	ret_decision->target = *target;
	if (!source_is_allowed(&packet->src, target))
		return -COUNTER_DROP_SOURCE_RANGE;
	if (!packet_opens(packet))
		return -COUNTER_REJECT_NO_FLOW;
	(void)client_find(packet, hook, &ret_decision->place);
	return service_select(&client, &ret_decision->target, ret_decision->place.is_near,
			      &ret_decision->choice);
}

/*
 * Decides whether a client's packet, which has no flow to follow, opens one, and if so to which
 * backend. Returns VERDICT_OPEN_FLOW then: the choice is in scratch->decision, for flow/create.h;
 * VERDICT_NO_FRONTEND if the address does not serve this port; VERDICT_NEXT if the packet is the
 * stack's.
 */
static __always_inline enum verdict original_decide(void *ctx, const struct packet *packet,
						    const struct address_info *address,
						    const struct hook *hook,
						    struct scratch *scratch)
{
	const struct frontend_target *target;
	int err;

	target = frontend_lookup(&packet->dst, packet->dst_port, packet->proto);
	if (!target)
		return VERDICT_NO_FRONTEND;
	if (address->flags & ADDRESS_NODE && is_own_reply(ctx, packet, &scratch->own_reply_key))
		return VERDICT_NEXT;
	err = original_choose_backend(packet, hook, target, &scratch->decision);
	if (err)
		return verdict_of(err);
	if (address->flags & ADDRESS_NODE)
		node_port_mark(packet->dst_port);
	return VERDICT_OPEN_FLOW;
}
