/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Direct conversations between a client and a backend, beside the client's flows to that backend:
 * one from a port that such a flow has gets another source port, as in netfilter.
 */

#include "flow/create.h"
#include "flow/direct.h"
#include "flow/end.h"
#include "flow/follow.h"

/*
 * True if a packet to a backend belongs to the flow of this pair's reply half and has just been
 * translated on a lower link (a bridge's port), rather than being sent directly by the client.
 */
static __noinline bool direct_is_translated(const struct hook *hook, const struct packet *packet,
					    const struct flow_pair *pair)
{
	__u32 sent = packet->sequence + packet_sequence_length(packet);
	const struct flow *reply = &pair->reply;
	const struct flow_renewal *renewal;

	if (!proto_has_handshake(packet->proto))
		return now_seconds() - reply->last_use_s <= 1 &&
		       (reply->flags & FLOW_LOCAL_CLIENT || reply->ifindex != hook->ifindex);
	if (packet->proto == IPPROTO_SCTP)
		sent = (__u32)packet->sctp_initiate_tag;
	if (sent == (packet->proto == IPPROTO_SCTP ? (__u32)reply->tag : reply->acked))
		return true;
	renewal = renewal_find(&pair->reply_key, reply);
	return renewal && renewal->sent == sent;
}

/*
 * A client opens a direct conversation with a backend from a port on which it has a flow to that
 * backend: the backend's answers would be taken for the flow's. So the direct conversation gets
 * another source port, as in netfilter. Returns 0 or -enum counter_reason.
 */
static __noinline int direct_open(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct scratch *scratch)
{
	const struct address_info *source = address_lookup(&packet->src);
	struct flow *flow = &scratch->pair.original;

	flow_describe(packet, hook, &packet->dst, packet->dst_port, &scratch->pair);
	flow->flags = FLOW_DIRECT;
	scratch->claim.is_from_node = source && source->flags & ADDRESS_NODE;
	address_expect_direct_flows(&packet->dst,
				    flow->last_use_s + flow_timeout_s(packet->proto, FLOW_NEW));
	return flow_insert(skb, scratch, false);
}

/*
 * Looks up the direct conversation of a client with a backend that was given another port; NULL if
 * there is none.
 */
static __always_inline struct flow *direct_flow(const struct packet *packet,
						const struct address_info *address,
						struct flow_pair *ret_pair, bool *ret_is_confirmed)
{
	struct flow *entry;

	if (!address_may_have_direct_flows(address))
		return NULL;
	packet_flow_key(packet, FLOW_ORIGINAL, &ret_pair->original_key);
	entry = flow_read(&ret_pair->original_key, &ret_pair->original, ret_is_confirmed);
	if (!entry || !(ret_pair->original.flags & FLOW_DIRECT) ||
	    flow_is_expired(&ret_pair->original, packet->proto, now_seconds()))
		return NULL;
	if (proto_has_handshake(packet->proto) && packet_opens(packet) &&
	    ret_pair->original.state == FLOW_CLOSED && flow_end(FLOW_ORIGINAL, FLOW_LEAVES_REPLY))
		return NULL;
	return entry;
}

/*
 * Handles a packet that opens a direct conversation with a backend, or may do so: it gets another
 * source port if its client has a flow with the same one. A flow that is over is removed, because
 * it would give the answers a source that the client does not know. Returns true if the
 * conversation got another port; otherwise it has no flow.
 */
static __always_inline bool direct_begin(struct __sk_buff *skb, const struct packet *packet,
					 const struct address_info *address, bool has_flows,
					 const struct hook *hook, struct scratch *scratch)
{
	__u32 now_s = now_seconds();
	bool is_confirmed;

	packet_flow_key_back(packet, FLOW_REPLY, &scratch->pair.reply_key);
	if (!has_flows ||
	    !flow_read(&scratch->pair.reply_key, &scratch->pair.reply, &is_confirmed)) {
		direct_record(address, &scratch->pair.reply_key, now_s);
		return false;
	}
	if (direct_is_translated(hook, packet, &scratch->pair))
		return false;
	if ((scratch->pair.reply.state == FLOW_CLOSED ||
	     flow_is_expired(&scratch->pair.reply, packet->proto, now_s)) &&
	    flow_end(FLOW_REPLY, FLOW_LEAVES_NOTHING)) {
		counter_add(COUNTER_FORGOTTEN, hook->size);
		direct_record(address, &scratch->pair.reply_key, now_s);
		return false;
	}
	if (direct_open(skb, packet, hook, scratch))
		return false;
	counter_add(COUNTER_DIRECT_TRANSLATED, hook->size);
	return true;
}
