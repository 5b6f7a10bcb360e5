/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * How packets change the state of their flow. Only a packet that its receiver would accept changes
 * it: anybody can send a segment with the right addresses and ports, but not with the right
 * sequence numbers. Other packets are passed on for the receiver to judge, and neither end the flow
 * nor keep it alive.
 */

#include "flow/flow.h"

/*
 * How far, in bytes, a TCP segment may be from the known sequence numbers and still be accepted.
 * Windows are not tracked: this is the most that most connections have in flight. A segment further
 * ahead is compared with what the other side has acknowledged.
 */
#define SEGMENT_REACH (1U << 20)
/* The largest window considered for segments further ahead; few connections have a larger one. */
#define SEGMENT_WINDOW_MAX (1U << 26)
/*
 * The largest gap that may precede a FIN that is accepted: the smallest window of most receivers.
 */
#define FIN_REACH 65535
/* How much data a SYN may carry that the receiver does not acknowledge (RFC 7413). */
#define SYN_DATA_MAX 2048
/*
 * If a connection that a RST has closed is still in use after this time, its receiver did not
 * accept the RST. By then everything in flight has arrived.
 */
#define FLOW_REVIVED_AFTER_S 2

#define FLOW_FIN_BOTH (FLOW_FIN_ORIGINAL | FLOW_FIN_REPLY)

/*
 * Writes the state, and adds flags, in both halves. Under the lock, because two CPUs may see the
 * two FINs at the same time; and only forward, because another CPU may be ahead.
 */
static __noinline int flow_advance(const struct flow_key *key, struct flow *flow,
				   struct flow *entry, __u8 state, __u8 flags)
{
	struct scratch *scratch = scratch_get();
	struct tuple_lock *lock;
	struct flow *peer;

	if (!scratch)
		return 0;
	peer = flow_find_peer(key, flow, &scratch->peer_key);
	lock = tuple_lock_of(key->direction == FLOW_REPLY ? key : &scratch->peer_key);
	if (!lock)
		return 0;
	bpf_spin_lock(&lock->lock);
	flags |= entry->flags;
	if ((flags & FLOW_FIN_BOTH) == FLOW_FIN_BOTH)
		state = FLOW_CLOSED;
	if (entry->state > state)
		state = entry->state;
	entry->state = state;
	entry->flags = flags;
	if (peer) {
		peer->state = state;
		peer->flags = flags;
	}
	bpf_spin_unlock(&lock->lock);
	flow->state = state;
	flow->flags = flags;
	return 0;
}

/*
 * The backend has agreed to a conversation, perhaps one that replaces another: both halves get this
 * state, and the flags and sequence numbers or tags of `flow`.
 */
static __noinline int flow_restart(const struct flow_key *key, struct flow *flow,
				   struct flow *entry, __u8 state)
{
	struct scratch *scratch = scratch_get();
	struct tuple_lock *lock;
	struct flow *peer;

	if (!scratch)
		return 0;
	peer = flow_find_peer(key, flow, &scratch->peer_key);
	lock = tuple_lock_of(key->direction == FLOW_REPLY ? key : &scratch->peer_key);
	if (!lock)
		return 0;
	flow->state = state;
	if (state < FLOW_ESTABLISHED)
		flow->flags &= ~FLOW_FIN_BOTH;
	bpf_spin_lock(&lock->lock);
	entry->state = flow->state;
	entry->flags = flow->flags;
	entry->sent = flow->sent;
	entry->acked = flow->acked;
	if (peer) {
		peer->state = flow->state;
		peer->flags = flow->flags;
		peer->sent = flow->acked;
		peer->acked = flow->sent;
	}
	bpf_spin_unlock(&lock->lock);
	return 0;
}

/*
 * Initialises a new flow's state from its first packet. With direct server return that packet may
 * come from the middle of a conversation: the node that sent it saw the beginning.
 */
static __always_inline void flow_begin(const struct packet *packet, struct flow *flow)
{
	flow->state = FLOW_NEW;
	if (packet->fragment == FRAGMENT_LATER)
		return;
	if (packet->proto == IPPROTO_SCTP && packet->sctp_chunk == SCTP_INIT) {
		flow->peer_tag = packet->sctp_initiate_tag;
	} else if (packet->proto == IPPROTO_SCTP) {
		flow->tag = packet->sctp_tag;
		flow->state = FLOW_REPLIED;
	} else if (packet->proto == IPPROTO_TCP) {
		flow->sent = packet->sequence + packet_sequence_length(packet);
		if (packet->tcp_flags & TCP_SYN)
			return;
		flow->acked = packet->acknowledged;
		flow->state = FLOW_REPLIED;
	}
}

static __always_inline bool is_in_reach(__u32 number, __u32 known)
{
	return number - known + SEGMENT_REACH <= 2 * SEGMENT_REACH;
}

static __always_inline void segment_record(const struct packet *packet, __u32 end,
					   struct flow *flow, struct flow *entry)
{
	if ((__s32)(end - flow->sent) > 0 || !flow->sent) {
		flow->sent = end;
		entry->sent = end;
	}
	if ((__s32)(packet->acknowledged - flow->acked) > 0 || !flow->acked) {
		flow->acked = packet->acknowledged;
		entry->acked = packet->acknowledged;
	}
}

static __always_inline bool is_in_reach_or_unknown(__u32 number, __u32 known)
{
	return !known || is_in_reach(number, known);
}

/*
 * True if a segment beyond SEGMENT_REACH would still be accepted by the other side (RFC 9293,
 * 3.10.7.4; RFC 5961, 5): many segments before it were lost. With direct server return only one
 * side is seen, so what that side has acknowledged has to suffice. Numbers that are not known any
 * more are taken from the next segment, which follows at once: only fast connections lose them
 * (transfer.bpf.c).
 */
static __noinline bool segment_is_accepted(const struct flow_key *key, const struct flow *flow,
					   const struct packet *packet, __u32 end)
{
	struct scratch *scratch = scratch_get();
	const struct flow *peer;

	if (!scratch)
		return false;
	if (is_in_reach_or_unknown(end, flow->sent) &&
	    is_in_reach_or_unknown(packet->acknowledged, flow->acked))
		return true;
	if (flow->flags & FLOW_DSR)
		return is_in_reach(packet->acknowledged, flow->acked) &&
		       end - flow->sent < SEGMENT_WINDOW_MAX;
	peer = flow_find_peer(key, flow, &scratch->peer_key);
	return peer && end - peer->acked < SEGMENT_WINDOW_MAX &&
	       peer->sent - packet->acknowledged <= SEGMENT_REACH;
}

/* True if the other side would accept the FIN. */
static __noinline bool fin_is_accepted(const struct flow_key *key, const struct flow *flow,
				       const struct packet *packet)
{
	__u32 end = packet->sequence + packet_sequence_length(packet);
	struct scratch *scratch = scratch_get();
	const struct flow *peer;

	if (packet->flags & PACKET_SEGMENT_IS_BROKEN ||
	    (flow->sent && (__s32)(packet->sequence - flow->sent) > FIN_REACH) || !scratch)
		return false;
	if (flow->flags & FLOW_DSR)
		return !flow->sent || (__s32)(end - flow->sent) > 0;
	peer = flow_find_peer(key, flow, &scratch->peer_key);
	return !peer || !peer->acked || (__s32)(end - peer->acked) > 0;
}

/*
 * Handles a segment that may change the state: it answers the backend, closes, or follows a close.
 */
static __noinline bool follow_change(const struct flow_key *key, struct flow *flow,
				     struct flow *entry, const struct packet *packet)
{
	__u8 fin = key->direction == FLOW_ORIGINAL ? FLOW_FIN_ORIGINAL : FLOW_FIN_REPLY;
	__u8 state = flow->state;

	if (state == FLOW_CLOSED) {
		if ((flow->flags & FLOW_FIN_BOTH) == FLOW_FIN_BOTH ||
		    now_seconds() - flow->last_use_s < FLOW_REVIVED_AFTER_S)
			return false;
		state = flow->flags & FLOW_FIN_BOTH ? FLOW_CLOSING : FLOW_ESTABLISHED;
		entry->state = state;
		(void)flow_advance(key, flow, entry, state, 0);
		return true;
	}
	if (state == FLOW_REPLIED && key->direction == FLOW_ORIGINAL)
		state = FLOW_ESTABLISHED;
	if (packet->tcp_flags & TCP_FIN)
		(void)flow_advance(key, flow, entry, FLOW_CLOSING, fin);
	else if (state != flow->state)
		(void)flow_advance(key, flow, entry, state, 0);
	return true;
}

/*
 * True if the client acknowledges no more than the backend has sent, and no less than its SYN-ACK.
 * An off-path attacker has not seen that number.
 */
static __noinline bool handshake_is_answered(const struct flow_key *key, const struct flow *flow,
					     const struct packet *packet)
{
	struct scratch *scratch = scratch_get();
	const struct flow *peer = scratch ? flow_find_peer(key, flow, &scratch->peer_key) : NULL;

	if (!peer)
		return packet->acknowledged == flow->acked;
	return packet->acknowledged - flow->acked <= peer->sent - flow->acked;
}

/* Records a SYN or INIT other than the one that opened the flow, in case the backend accepts it. */
static __noinline int renewal_record(const struct flow_key *key, __u32 sent)
{
	struct scratch *scratch = scratch_get();

	if (!scratch)
		return 0;
	scratch->renewal = (struct flow_renewal){.sent = sent};
	(void)bpf_map_update_elem(&flow_renewals, key, &scratch->renewal, BPF_ANY);
	return 0;
}

/* The conversation that would replace the one whose reply half has this key, or NULL. */
static __always_inline struct flow_renewal *renewal_find(const struct flow_key *reply_key,
							 const struct flow *reply)
{
	struct scratch *scratch = scratch_get();

	if (!scratch)
		return NULL;
	flow_peer_key(reply_key, reply, &scratch->peer_key);
	return bpf_map_lookup_elem(&flow_renewals, &scratch->peer_key);
}

/*
 * Handles a client's SYN on a flow: a retransmission of the one that opened it, or one that would
 * open another conversation.
 */
static __always_inline bool follow_syn(const struct flow_key *key, const struct flow *flow,
				       const struct packet *packet)
{
	__u32 end = packet->sequence + packet_sequence_length(packet);

	if (key->direction != FLOW_ORIGINAL)
		return false;
	if (end == flow->sent)
		return flow->state < FLOW_ESTABLISHED;
	(void)renewal_record(key, end);
	return false;
}

/* Handles a backend's SYN-ACK: to the SYN that opened the flow, or to one that would restart it. */
static __noinline bool follow_syn_ack(const struct flow_key *key, struct flow *flow,
				      struct flow *entry, const struct packet *packet)
{
	bool is_answer = flow->acked - packet->acknowledged < SYN_DATA_MAX;
	const struct flow_renewal *renewal;

	if (key->direction != FLOW_REPLY || (is_answer && flow->state >= FLOW_ESTABLISHED))
		return false;
	if (!is_answer) {
		renewal = renewal_find(key, flow);
		if (!renewal || renewal->sent != packet->acknowledged)
			return false;
		flow->acked = packet->acknowledged;
	}
	flow->sent = packet->sequence + packet_sequence_length(packet);
	(void)flow_restart(key, flow, entry, FLOW_REPLIED);
	return true;
}

/*
 * A RST closes the flow only if its receiver would accept it: it has exactly the next expected
 * sequence number (RFC 5961, 3.2), judged by what was sent or by what the other side has
 * acknowledged; or it answers the SYN before there is a connection.
 */
static __noinline bool follow_reset(const struct flow_key *key, struct flow *flow,
				    struct flow *entry, const struct packet *packet)
{
	struct scratch *scratch = scratch_get();
	const struct flow *peer;
	bool is_believed;

	if (!scratch)
		return false;
	if (packet->flags & PACKET_SEGMENT_IS_BROKEN)
		return false;
	is_believed = flow->sent && packet->sequence == flow->sent;
	if (!is_believed && key->direction == FLOW_REPLY && flow->state < FLOW_ESTABLISHED)
		is_believed = packet->tcp_flags & TCP_ACK && packet->acknowledged == flow->acked;
	if (!is_believed && !(flow->flags & FLOW_DSR)) {
		peer = flow_find_peer(key, flow, &scratch->peer_key);
		is_believed = peer && peer->acked && packet->sequence == peer->acked;
	}
	if (is_believed)
		(void)flow_advance(key, flow, entry, FLOW_CLOSED, 0);
	return is_believed;
}

/* TCP's state machine as seen from the middle (RFC 9293, 3.3.2). */
static __always_inline bool follow_tcp(const struct flow_key *key, struct flow *flow,
				       struct flow *entry, const struct packet *packet)
{
	__u32 end = packet->sequence + packet_sequence_length(packet);

	if (packet->tcp_flags & TCP_RST)
		return follow_reset(key, flow, entry, packet);
	if (packet->tcp_flags & TCP_SYN)
		return packet->tcp_flags & TCP_ACK ? follow_syn_ack(key, flow, entry, packet)
						   : follow_syn(key, flow, packet);
	if (!(packet->tcp_flags & TCP_ACK))
		return false;
	if (flow->state < FLOW_ESTABLISHED &&
	    (flow->state == FLOW_NEW ||
	     (key->direction == FLOW_ORIGINAL && !handshake_is_answered(key, flow, packet))))
		return false;
	if ((!is_in_reach(end, flow->sent) || !is_in_reach(packet->acknowledged, flow->acked)) &&
	    !segment_is_accepted(key, flow, packet, end))
		return false;
	if (packet->tcp_flags & TCP_FIN && !fin_is_accepted(key, flow, packet))
		return false;
	segment_record(packet, end, flow, entry);
	if (flow->state == FLOW_ESTABLISHED && !(packet->tcp_flags & TCP_FIN))
		return true;
	return follow_change(key, flow, entry, packet);
}

/*
 * True if the packet has the verification tag that its receiver chose (RFC 9260, 8.5). If the chunk
 * with that tag was not seen, the first tag seen is taken for it.
 */
static __always_inline bool sctp_is_believed(struct flow *flow, struct flow *entry,
					     const struct packet *packet)
{
	if (!flow->tag) {
		flow->tag = packet->sctp_tag;
		entry->tag = packet->sctp_tag;
	}
	if (packet->sctp_tag == flow->tag)
		return true;
	return (packet->sctp_chunk == SCTP_ABORT || packet->sctp_chunk == SCTP_SHUTDOWN_COMPLETE) &&
	       packet->sctp_chunk_flags & SCTP_FLAG_REFLECTED && packet->sctp_tag == flow->peer_tag;
}

/*
 * Handles the INIT ACK or COOKIE ACK of an association that restarts while the flow knows another
 * one: INIT ACK carries the backend's new tag, COOKIE ACK shows that the backend has agreed (RFC
 * 9260, 5.2.4).
 */
static __always_inline bool follow_sctp_renewal(const struct flow_key *key, struct flow *flow,
						struct flow *entry, const struct packet *packet)
{
	struct flow_renewal *renewal;

	if (packet->sctp_chunk != SCTP_INIT_ACK && packet->sctp_chunk != SCTP_COOKIE_ACK)
		return false;
	renewal = renewal_find(key, flow);
	if (!renewal || renewal->sent != (__u32)packet->sctp_tag)
		return false;
	if (packet->sctp_chunk == SCTP_INIT_ACK) {
		renewal->answered = packet->sctp_initiate_tag;
		return false;
	}
	flow->tag = renewal->sent;
	flow->peer_tag = renewal->answered;
	(void)flow_restart(key, flow, entry, FLOW_REPLIED);
	return true;
}

/*
 * The next state after an SCTP packet (RFC 9260, 4): INIT ACK answers, COOKIE ECHO completes the
 * handshake, and either side may close.
 */
static __always_inline __u8 sctp_next_state(const struct flow *flow, __u8 chunk,
					    enum flow_direction direction)
{
	if (chunk == SCTP_ABORT || chunk == SCTP_SHUTDOWN_COMPLETE || flow->state == FLOW_CLOSED)
		return FLOW_CLOSED;
	if (chunk == SCTP_SHUTDOWN || chunk == SCTP_SHUTDOWN_ACK)
		return FLOW_CLOSING;
	if (flow->state == FLOW_NEW && direction == FLOW_REPLY)
		return FLOW_REPLIED;
	if (flow->state == FLOW_REPLIED && direction == FLOW_ORIGINAL)
		return FLOW_ESTABLISHED;
	return flow->state;
}

static __noinline bool follow_sctp(const struct flow_key *key, struct flow *flow,
				   struct flow *entry, const struct packet *packet)
{
	bool is_reply = key->direction == FLOW_REPLY;
	__u8 state;

	if (packet->sctp_chunk == SCTP_INIT) {
		if (is_reply)
			return false;
		if (packet->sctp_initiate_tag == flow->peer_tag)
			return flow->state < FLOW_ESTABLISHED;
		(void)renewal_record(key, packet->sctp_initiate_tag);
		return false;
	}
	if (!sctp_is_believed(flow, entry, packet))
		return is_reply && follow_sctp_renewal(key, flow, entry, packet);
	if (is_reply && packet->sctp_chunk == SCTP_INIT_ACK) {
		if (flow->state >= FLOW_ESTABLISHED)
			return false;
		flow->peer_tag = packet->sctp_initiate_tag;
		(void)flow_restart(key, flow, entry, FLOW_REPLIED);
		return true;
	}
	state = sctp_next_state(flow, packet->sctp_chunk, key->direction);
	if (state == flow->state)
		return state != FLOW_CLOSED;
	(void)flow_advance(key, flow, entry, state, 0);
	return true;
}

/* UDP has no handshake: a client packet after an answer counts as one. */
static __always_inline bool follow_datagram(const struct flow_key *key, struct flow *flow,
					    struct flow *entry)
{
	if (key->direction == FLOW_REPLY && flow->state == FLOW_NEW)
		(void)flow_advance(key, flow, entry, FLOW_REPLIED, 0);
	else if (key->direction == FLOW_ORIGINAL && flow->state == FLOW_REPLIED)
		(void)flow_advance(key, flow, entry, FLOW_ESTABLISHED, 0);
	return true;
}

/*
 * Updates the flow's state from this packet, in the copy and in the entry. A later fragment has no
 * transport header, so it changes nothing, except that UDP counts it.
 */
static __always_inline void flow_follow(const struct flow_key *key, struct flow *flow,
					struct flow *entry, const struct packet *packet,
					bool is_confirmed)
{
	bool is_believed;

	if (key->proto == IPPROTO_UDP)
		is_believed = follow_datagram(key, flow, entry);
	else if (packet->fragment == FRAGMENT_LATER)
		return;
	else if (key->proto == IPPROTO_TCP)
		is_believed = follow_tcp(key, flow, entry, packet);
	else
		is_believed = follow_sctp(key, flow, entry, packet);
	if (is_believed)
		flow_touch(key, flow, entry, is_confirmed, now_seconds());
}
