/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What becomes of the flows of direct server return where a client's packets arrive: only these are
 * ever seen here.
 */

#include "flow.h"
#include "flow_confirm.h"
#include "packet.h"

/*
 * What a client's packet makes of its flow's state. Nobody here sees the backend answer: that the
 * client goes on stands for it, after the opening packet of a handshake, or, where there is none,
 * in a later second. After its last word the flow lives as long as anything is said.
 */
static __always_inline __u8 dsr_next_state(const struct flow *flow, const struct packet *packet,
					   __u32 now_s)
{
	bool ends = false, goes_on;

	switch (packet->proto) {
	case IPPROTO_TCP:
		ends = packet->tcp_flags & (TCP_RST | TCP_FIN);
		goes_on = (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK;
		break;
	case IPPROTO_SCTP:
		ends = packet->sctp_chunk == SCTP_ABORT || packet->sctp_chunk == SCTP_SHUTDOWN ||
		       packet->sctp_chunk == SCTP_SHUTDOWN_ACK ||
		       packet->sctp_chunk == SCTP_SHUTDOWN_COMPLETE;
		goes_on = packet->sctp_chunk != SCTP_INIT;
		break;
	default:
		goes_on = flow->last_use_s != now_s;
		break;
	}
	if (ends)
		return FLOW_CLOSED;
	return goes_on && flow->state == FLOW_NEW ? FLOW_ESTABLISHED : flow->state;
}

/*
 * The client goes on: moves the flow, in draft->original, from `new_flows` to `flows`. Where the
 * table is full it stays what it is, and that is counted.
 */
static __always_inline void dsr_confirm(struct flow_draft *draft)
{
	int err;

	flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	err = flow_check_has_room() ? flow_insert_original(draft) : -ENOSPC;
	if (err && err != -EEXIST) {
		flow_find_full();
		return;
	}
	(void)bpf_map_delete_elem(&new_flows, &draft->original_key);
}

/* Notes a packet of the flow. Returns the flow, which may be elsewhere then. */
static __noinline const struct flow *dsr_use(const struct flow_key *key, struct flow *flow,
					     const struct packet *packet, bool is_confirmed)
{
	struct flow_draft *draft = flow_draft_get();
	__u32 now_s = now_seconds();
	__u8 state = flow->state;

	if (packet->fragment != FRAGMENT_LATER)
		state = dsr_next_state(flow, packet, now_s);
	flow_touch(key, flow, is_confirmed, now_s);
	if (state == flow->state)
		return flow;
	flow->state = state;
	if (is_confirmed || state != FLOW_ESTABLISHED || !draft)
		return flow;
	/* Confirming deletes the new flow, whose memory may then be another's. */
	draft->original_key = *key;
	draft->original = *flow;
	dsr_confirm(draft);
	return &draft->original;
}
