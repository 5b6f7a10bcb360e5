/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Creation of flows to a backend that has been chosen: which source address the backend will see,
 * and the flow's entries in `new_flows`.
 */

#include "fairlead/atomic.h"
#include "flow/claim.h"
#include "flow/dsr_choice.h"
#include "flow/follow.h"
#include "route/route.h"
#include "service/address_kind.h"

/* Records for the operator that flows of a service port find no free source port. */
static __always_inline void exhausted_record(__u32 service)
{
	struct exhausted fresh = {.count = 1, .last_s = now_seconds()};
	struct exhausted *seen = bpf_map_lookup_elem(&exhausted, &service);

	if (!seen) {
		(void)bpf_map_update_elem(&exhausted, &service, &fresh, BPF_ANY);
		return;
	}
	ATOMIC_ADD(seen->count, 1);
	seen->last_s = fresh.last_s;
}

/* Describes the original half of the flow that a packet opens to a backend, with its own source. */
static __always_inline void flow_describe(const struct packet *packet, const struct hook *hook,
					  const struct ip_addr *backend, __be16 port,
					  struct flow_pair *ret_pair)
{
	struct flow *flow = &ret_pair->original;

	packet_flow_key(packet, FLOW_ORIGINAL, &ret_pair->original_key);
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->new_src = packet->src;
	flow->new_src_port = packet->src_port;
	flow->new_dst = *backend;
	flow->new_dst_port = port;
	flow->last_use_s = now_seconds();
	flow->ifindex = hook->ifindex;
	flow_begin(packet, flow);
}

/* Describes the flow of a packet to a frontend, to the backend of scratch->decision. */
static __always_inline void flow_describe_decided(const struct packet *packet,
						  const struct hook *hook, struct scratch *scratch)
{
	const struct choice *choice = &scratch->decision.choice;
	struct flow *flow = &scratch->pair.original;

	flow_describe(packet, hook, &choice->addr, choice->port, &scratch->pair);
	scratch->claim.is_from_node = false;
	flow->slot = choice->slot;
	flow->backend = choice->backend;
	flow->generation = choice->generation;
	flow->service = choice->service;
	flow->kind = scratch->decision.target.kind;
	flow->is_near = scratch->decision.place.is_near;
}

/*
 * Chooses the source address that the backend will see: the client's, unless the reply would then
 * bypass this node or never leave the backend. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_choose_source(void *ctx, const struct packet *packet,
					 const struct hook *hook, struct scratch *scratch)
{
	const struct address_info *frontend, *backend, *client;
	struct flow *flow = &scratch->pair.original;
	int err;

	backend = address_lookup(&flow->new_dst);
	client = hook->is_egress ? address_lookup(&scratch->pair.original_key.src) : NULL;
	if ((!scratch->decision.place.returns_here || (client && is_vip_of_node(client))) &&
	    !(scratch->decision.choice.flags & BACKEND_LOCAL) &&
	    !(backend && backend->flags & ADDRESS_NODE)) {
		if (!hook->is_egress &&
		    dsr_is_possible(&scratch->pair.original_key, &scratch->decision.choice)) {
			flow->flags = FLOW_DSR;
			return 0;
		}
		__builtin_memset(&scratch->rewrite, 0, sizeof(scratch->rewrite));
		scratch->rewrite.dst = flow->new_dst;
		scratch->rewrite.dst_port = flow->new_dst_port;
		err = route_find(ctx, packet, hook, &scratch->rewrite, &scratch->route);
		if (err)
			return err;
		/* A link without addresses borrows those of the link that the packet came by. */
		if (!link_source_of(scratch->route.next.ifindex, packet->family, &flow->new_src) &&
		    !link_source_of(hook->ifindex, packet->family, &flow->new_src)) {
			if (!hook->is_egress)
				return -COUNTER_DROP_NO_ROUTE;
			flow->new_src = scratch->pair.original_key.src;
		}
		/*
		 * A packet of the node itself is not forwarded, and its reply is delivered locally.
		 */
		flow->flags = hook->is_egress ? 0 : FLOW_SOURCE_NAT;
		scratch->claim.is_from_node =
			!address_equal(&flow->new_src, &scratch->pair.original_key.src);
	} else if (address_equal(&scratch->pair.original_key.src, &flow->new_dst)) {
		flow->flags = FLOW_HAIRPIN;
		flow->new_src = scratch->pair.original_key.dst;
		frontend = address_lookup(&flow->new_src);
		scratch->claim.is_from_node = frontend && frontend->flags & ADDRESS_NODE;
	}
	return 0;
}

/* Another CPU has just created the same flow: uses that one. */
static __always_inline int flow_use_existing(struct flow_pair *pair)
{
	bool is_confirmed;

	if (!(pair->original.flags & FLOW_DSR))
		(void)flow_delete_half(&new_flows, &pair->reply_key, &pair->reply);
	if (!flow_read(&pair->original_key, &pair->original, &is_confirmed))
		return -COUNTER_DROP_NEW_FLOWS;
	return 0;
}

/*
 * Inserts the flow into `new_flows`: both halves, or only the original half if it uses direct
 * server return. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_insert(void *ctx, struct scratch *scratch, bool keeps_port)
{
	__u32 until_s;
	int err;

	/*
	 * Replies of direct server return bypass this node, so their tuple need not be unique here.
	 */
	if (scratch->pair.original.flags & FLOW_DSR) {
		flow_peer_key(&scratch->pair.original_key, &scratch->pair.original,
			      &scratch->pair.reply_key);
	} else {
		err = flow_claim(ctx, scratch, keeps_port);
		if (err)
			return err;
	}
	until_s = scratch->pair.original.last_use_s +
		  flow_timeout_s(scratch->pair.original_key.proto, FLOW_NEW);
	address_expect_flows(&scratch->pair.original_key.dst, until_s);
	address_expect_flows(&scratch->pair.reply_key.src, until_s);
	scratch->pair.original.check = flow_check_of(&scratch->pair.original_key);
	err = bpf_map_update_elem(&new_flows, &scratch->pair.original_key, &scratch->pair.original,
				  BPF_NOEXIST);
	if (err == -EEXIST)
		return flow_use_existing(&scratch->pair);
	return err ? -COUNTER_DROP_NEW_FLOWS : 0;
}

/* Creates the flow that scratch->pair describes, to a backend of a service port. */
static __always_inline int flow_open(void *ctx, const struct hook *hook, struct scratch *scratch)
{
	int err = flow_insert(ctx, scratch, true);

	if (err == -COUNTER_DROP_NO_PORT_FREE)
		exhausted_record(scratch->decision.choice.service);
	if (err)
		return err;
	stats_count_connection(scratch->decision.choice.service);
	counter_add(COUNTER_FORWARDED_NEW, hook->size);
	return 0;
}

/*
 * The client is a process of this node: records how to reach it, by the link that its packets leave
 * by. If the backend is on this node as well, it would drop packets from any address of the node as
 * martians: as with a hairpin, the VIP replaces the client's address.
 */
static __always_inline void flow_mark_local_client(struct __sk_buff *skb, const struct hook *hook,
						   struct flow_pair *pair)
{
	const struct address_info *backend = address_lookup(&pair->original.new_dst);
	struct flow *flow = &pair->original;

	flow->flags |= FLOW_LOCAL_CLIENT;
	flow->ifindex = hook->ifindex;
	if (hook->link_header_size)
		(void)bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_source), flow->mac,
					 sizeof(flow->mac));
	if (backend && backend->flags & ADDRESS_NODE) {
		flow->flags |= FLOW_HAIRPIN;
		flow->new_src = pair->original_key.dst;
	}
}

/*
 * Creates the flow that a packet opens to scratch->decision.choice; afterwards all of the flow is
 * in scratch->pair. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_create(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct scratch *scratch)
{
	int err;

	flow_describe_decided(packet, hook, scratch);
	err = flow_choose_source(skb, packet, hook, scratch);
	if (err)
		return err;
	if (hook->is_egress)
		flow_mark_local_client(skb, hook, &scratch->pair);
	return flow_open(skb, hook, scratch);
}
