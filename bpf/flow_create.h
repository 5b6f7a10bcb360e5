/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Flows in the making: which backend, whose name the packet bears there, and the source port that
 * tells it from all other flows.
 */

#include "atomic.h"
#include "client.h"
#include "dsr.h"
#include "flow.h"
#include "node_port.h"
#include "route.h"
#include "service.h"

/*
 * What becomes of a packet that opens a flow to a frontend: where its client is, and which backend
 * it gets. All hooks decide by this. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_decide(const struct packet *packet, const struct hook *hook,
				  const struct frontend_target *target, struct flow_draft *draft)
{
	struct client client = {.addr = packet->src, .kind = AFFINITY_ADDRESS};

	draft->target = *target;
	if (!source_is_allowed(&packet->src, target))
		return -COUNTER_DROP_SOURCE_RANGE;
	if (!packet_opens(packet))
		return -COUNTER_REJECT_NO_FLOW;
	(void)client_find(packet, hook, &draft->place);
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	return service_select(&client, &draft->target, draft->place.is_near, &draft->choice);
}

/* Notes for people that a service port's flows find no source port. */
static __always_inline void exhausted_note(__u32 service)
{
	struct exhausted fresh = {.count = 1, .last_s = now_seconds()};
	struct exhausted *seen = bpf_map_lookup_elem(&exhausted, &service);

	if (!seen) {
		(void)bpf_map_update_elem(&exhausted, &service, &fresh, BPF_ANY);
		return;
	}
	atomic_add(&seen->count, 1);
	seen->last_s = fresh.last_s;
}

/*
 * True if a flow whose client's place is taken by an address of this node may keep the client's
 * port: not one that processes of the node get for their own conversations with the backend.
 */
static __always_inline bool port_may_be_kept(__be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number && (number < config.host_port_min || number >= config.source_port_min) &&
	       number <= config.source_port_max;
}

/*
 * One of the ports that are nobody's: below the node's own range, where only servers are, whose
 * tuples no backend's replies have, and above it.
 */
static __always_inline __be16 port_pick(void)
{
	__u32 high = config.source_port_max - config.source_port_min + 1, low = 0, pick;

	if (config.low_port_min && config.low_port_min < config.host_port_min)
		low = config.host_port_min - config.low_port_min;
	pick = bpf_get_prandom_u32() % (low + high);
	return bpf_htons(pick < low ? config.low_port_min + pick
				    : config.source_port_min + pick - low);
}

/*
 * Claims the reply tuple: with the flow's own source port, or, where that is taken or the node's,
 * with another one.
 */
static __noinline int flow_claim(struct flow_draft *draft)
{
	bool keep = !draft->is_from_node || port_may_be_kept(draft->original.new_src_port);
	int err = -EEXIST;

	flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	flow_peer(&draft->original_key, &draft->original, &draft->reply);
	for (int attempt = 0; attempt < PORT_TRIES && err == -EEXIST; attempt++) {
		if (attempt || !keep)
			draft->original.new_src_port = port_pick();
		draft->reply_key.dst_port = draft->original.new_src_port;
		err = flow_claim_reply();
	}
	if (!err)
		return 0;
	if (err != -EEXIST)
		return -COUNTER_DROP_NEW_FLOWS;
	exhausted_note(draft->choice.service);
	return -COUNTER_DROP_NO_PORT_FREE;
}

static __always_inline void flow_draft_fill(const struct hook *hook, struct flow_draft *draft)
{
	const struct flow_key *key = &draft->original_key;
	const struct choice *choice = &draft->choice;
	struct flow *flow = &draft->original;

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->new_src = key->src;
	flow->new_src_port = key->src_port;
	flow->new_dst = choice->addr;
	flow->new_dst_port = choice->port;
	flow->slot = choice->slot;
	flow->backend = choice->backend;
	flow->generation = choice->generation;
	flow->service = choice->service;
	flow->last_use_s = now_seconds();
	flow->state = FLOW_NEW;
	flow->kind = draft->target.kind;
	flow->is_near = draft->place.is_near;
	flow->ifindex = hook->ifindex;
	draft->is_from_node = false;
}

/*
 * Whose name the packet bears at the backend: its client's, unless the reply would then miss this
 * node, or never leave the backend. Returns 0 or -COUNTER_DROP_NO_ROUTE.
 */
static __noinline int flow_choose_source(void *ctx, const struct packet *packet,
					 const struct hook *hook, struct flow_draft *draft)
{
	const struct address_info *frontend, *backend, *client;
	struct flow *flow = &draft->original;
	int err;

	backend = address_lookup(&flow->new_dst);
	client = hook->is_egress ? address_lookup(&draft->original_key.src) : NULL;
	if ((!draft->place.returns_here || (client && is_vip_of_node(client))) &&
	    !(draft->choice.flags & BACKEND_LOCAL) && !(backend && backend->flags & ADDRESS_NODE)) {
		if (!hook->is_egress && dsr_is_possible(draft)) {
			flow->flags = FLOW_DSR;
			return 0;
		}
		__builtin_memset(&draft->rewrite, 0, sizeof(draft->rewrite));
		draft->rewrite.dst = flow->new_dst;
		draft->rewrite.dst_port = flow->new_dst_port;
		err = route_find(ctx, packet, hook, &draft->rewrite, &draft->route);
		if (err)
			return err;
		/* A link without addresses borrows those of the link that the packet came by. */
		if (!link_source_of(draft->route.ifindex, packet->family, &flow->new_src) &&
		    !link_source_of(hook->ifindex, packet->family, &flow->new_src)) {
			if (!hook->is_egress)
				return -COUNTER_DROP_NO_ROUTE;
			flow->new_src = draft->original_key.src;
		}
		/* The node's own packet is not forwarded, and its reply is delivered. */
		flow->flags = hook->is_egress ? 0 : FLOW_SOURCE_NAT;
		draft->is_from_node = !address_equal(&flow->new_src, &draft->original_key.src);
	} else if (address_equal(&draft->original_key.src, &flow->new_dst)) {
		flow->flags = FLOW_HAIRPIN;
		flow->new_src = draft->original_key.dst;
		frontend = address_lookup(&flow->new_src);
		draft->is_from_node = frontend && frontend->flags & ADDRESS_NODE;
	}
	return 0;
}

/*
 * Enters the flow, both halves of it. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_enter(const struct hook *hook, struct flow_draft *draft)
{
	__u32 until_s;
	int err;

	/* Replies of direct server return do not come here: there is nothing to tell apart. */
	if (draft->original.flags & FLOW_DSR) {
		flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	} else {
		err = flow_claim(draft);
		if (err)
			return err;
	}
	until_s = draft->original.last_use_s + flow_timeout_s(draft->original_key.proto, FLOW_NEW);
	address_expect_flows(&draft->original_key.dst, until_s);
	address_expect_flows(&draft->reply_key.src, until_s);
	if (bpf_map_update_elem(&new_flows, &draft->original_key, &draft->original, BPF_ANY))
		return -COUNTER_DROP_NEW_FLOWS;
	stats_count_connection(draft->choice.service);
	counter_add(COUNTER_FORWARDED_NEW, hook->size);
	return 0;
}
