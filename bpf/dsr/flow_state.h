/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Flow state with direct server return, on the node where a client's packets arrive: no other
 * packets of the flow are seen here. When the client has continued after its first packet, the
 * backend's node is asked and confirms the flow (dsr/confirmation.h). After the client has closed,
 * the flow lives on as long as the client still sends packets; and only a packet that fits those
 * seen before can end it.
 */

#include "flow/follow.h"

/* The next state; `*ret_is_believed` tells whether the segment refreshes the flow. */
static __always_inline __u8 dsr_follow_tcp(const struct flow_key *key, struct flow *flow,
					   struct flow *entry, const struct packet *packet,
					   bool *ret_is_believed)
{
	__u32 end = packet->sequence + packet_sequence_length(packet);

	*ret_is_believed = false;
	if (packet->tcp_flags & TCP_SYN) {
		*ret_is_believed = follow_syn(key, flow, packet);
		return flow->state;
	}
	if (packet->tcp_flags & TCP_RST)
		return packet->sequence == flow->sent && !(packet->flags & PACKET_SEGMENT_IS_BROKEN)
			       ? FLOW_CLOSED
			       : flow->state;
	if (!(packet->tcp_flags & TCP_ACK))
		return flow->state;
	if ((!is_in_reach(end, flow->sent) ||
	     (flow->acked && !is_in_reach(packet->acknowledged, flow->acked))) &&
	    !segment_is_accepted(key, flow, packet, end)) {
		/*
		 * It may belong to a connection that the backend has accepted in place of this one.
		 */
		*ret_is_believed = bpf_map_lookup_elem(&flow_renewals, key);
		return flow->state;
	}
	if (packet->tcp_flags & TCP_FIN && !fin_is_accepted(key, flow, packet))
		return flow->state;
	*ret_is_believed = true;
	segment_record(packet, end, flow, entry);
	if (packet->tcp_flags & TCP_FIN)
		return FLOW_CLOSED;
	return flow->state == FLOW_NEW ? FLOW_REPLIED : flow->state;
}

/* Only the client's packets are seen: their tag appears first in the packet after INIT. */
static __always_inline __u8 dsr_follow_sctp(const struct flow_key *key, struct flow *flow,
					    struct flow *entry, const struct packet *packet)
{
	if (packet->sctp_chunk == SCTP_INIT)
		return flow->state;
	if (!sctp_is_believed(flow, entry, packet))
		return flow->state;
	switch (packet->sctp_chunk) {
	case SCTP_ABORT:
	case SCTP_SHUTDOWN:
	case SCTP_SHUTDOWN_ACK:
	case SCTP_SHUTDOWN_COMPLETE:
		return FLOW_CLOSED;
	default:
		return flow->state == FLOW_NEW ? FLOW_REPLIED : flow->state;
	}
}

/*
 * Updates the flow in scratch->pair.original from a client's packet; the flow may be due to move to
 * `flows` afterwards.
 */
static __noinline int dsr_go_on(struct scratch *scratch, struct flow *entry,
				const struct packet *packet, bool is_confirmed)
{
	const struct flow_key *key = &scratch->pair.original_key;
	struct flow *flow = &scratch->pair.original;
	__u32 now_s = now_seconds();
	bool is_believed = true;
	__u8 state = flow->state;

	if (packet->fragment == FRAGMENT_LATER)
		is_believed = packet->proto == IPPROTO_UDP;
	else if (packet->proto == IPPROTO_TCP)
		state = dsr_follow_tcp(key, flow, entry, packet, &is_believed);
	else if (packet->proto == IPPROTO_SCTP)
		state = dsr_follow_sctp(key, flow, entry, packet);
	else if (flow->state == FLOW_NEW)
		state = FLOW_REPLIED;
	if (is_believed)
		flow_touch(key, flow, entry, is_confirmed, now_s);
	if (state != flow->state) {
		flow->state = state;
		entry->state = state;
	}
	if (!is_confirmed && state == FLOW_ESTABLISHED)
		scratch->due = FLOW_DUE_CONFIRM;
	return 0;
}
