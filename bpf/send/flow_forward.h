/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Sends a packet of a flow: rewritten and left to the kernel's routing, sent past the stack (source
 * NAT), by another route than the kernel's (processes of the node), or back where it came from.
 */

#include "counter.h"
#include "flow/flow.h"
#include "nat/nat.h"
#include "packet/mark.h"
#include "send/forward.h"
#include "send/transit.h"

/* Rewrites a packet of a flow with source NAT, in either direction, and sends it on. */
static __always_inline enum verdict transit(struct __sk_buff *skb, const struct packet *packet,
					    const struct rewrite *rewrite, struct route *route,
					    enum flow_direction direction, const struct hook *hook)
{
	int err;

	route->overhead = 0;
	route->is_answer = direction == FLOW_REPLY;
	err = transit_route(skb, packet, hook, rewrite, route);
	if (err)
		return verdict_of(err);
	err = nat_rewrite(skb, packet, rewrite);
	if (err)
		return verdict_of(err);
	return transit_send(skb, packet, route, hook);
}

/*
 * Sends a packet of a process of this node by the route to its backend. That route may differ from
 * the one that the kernel has chosen, and its MTU may be smaller.
 */
static __always_inline enum verdict reroute(struct __sk_buff *skb, const struct packet *packet,
					    const struct rewrite *rewrite, struct route *route,
					    const struct hook *hook)
{
	int err;

	route->overhead = 0;
	route->is_answer = false;
	err = route_find(skb, packet, hook, rewrite, route);
	if (err)
		return verdict_of(err);
	err = route_check(skb, packet, route);
	if (err)
		return verdict_of(err);
	err = nat_rewrite(skb, packet, rewrite);
	if (err)
		return verdict_of(err);
	if (!hook->link_header_size && route->next.ifindex == hook->ifindex)
		return VERDICT_DONE;
	return route_send(skb, route, hook);
}

/* Rewrites a packet and sends it on in its flow's `direction`. */
static __noinline enum verdict flow_forward(struct __sk_buff *skb, const struct packet *packet,
					    const struct flow *flow, enum flow_direction direction,
					    const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	__u8 flags;
	int err;

	if (!scratch)
		return verdict_give_up(COUNTER_DROP_REWRITE);
	flags = flow->flags;
	if (direction == FLOW_REPLY || flags & FLOW_FROM_NODE)
		packet_mark_translated(skb);
	if (config.count_packets)
		stats_count_packet(flow->service, hook->size);
	rewrite_from_flow(flow, &scratch->rewrite);
	if (flags & FLOW_SOURCE_NAT)
		return transit(skb, packet, &scratch->rewrite, &scratch->route, direction, hook);
	if (hook->is_egress && direction == FLOW_ORIGINAL && !(flags & FLOW_HAIRPIN))
		return reroute(skb, packet, &scratch->rewrite, &scratch->route, hook);
	if (flags & FLOW_HAIRPIN && !(flags & FLOW_LOCAL_CLIENT)) {
		err = nat_decrement_ttl(skb, packet);
		if (err)
			return verdict_of(err);
	}
	err = nat_rewrite(skb, packet, &scratch->rewrite);
	if (err)
		return verdict_of(err);
	if (flags & FLOW_LOCAL_CLIENT && direction == FLOW_REPLY)
		return forward_to_local_client(skb, flow, hook);
	return flags & FLOW_HAIRPIN ? forward_back(skb, hook) : VERDICT_DONE;
}

/* Sends a client's packet to its backend, or has it encapsulated (direct server return). */
static __always_inline enum verdict flow_forward_original(struct __sk_buff *skb,
							  const struct packet *packet,
							  const struct flow *flow,
							  const struct hook *hook)
{
	if (!(flow->flags & FLOW_DSR))
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	if (config.count_packets)
		stats_count_packet(flow->service, hook->size);
	return VERDICT_ENCAPSULATE;
}
