/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Creation of flows: chooses the backend, the source address that the backend will see, and the
 * source port that tells the flow from all others.
 */

#include "fairlead/atomic.h"
#include "service/client.h"
#include "flow/direct.h"
#include "flow/dsr_choice.h"
#include "flow/end.h"
#include "flow/follow.h"
#include "service/node_ports_used.h"
#include "route/route.h"
#include "service/select.h"

/*
 * Decides on a packet that opens a flow to a frontend: checks the source ranges, finds out where
 * the client is and selects a backend. Every hook decides by this function. Returns 0 or -enum
 * counter_reason.
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

/* Records for the operator that flows of a service port find no free source port. */
static __always_inline void exhausted_note(__u32 service)
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

/* True if a flow may use this port as its source port at an address of this node. */
static __always_inline bool port_may_be_used(__be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number && number <= config.source_port_max;
}

/*
 * Picks a port outside the node's own range. Below that range only servers have ports, and no
 * backend's reply has their tuples; above it nobody does. With `of_all`, a port of the node's own
 * range may be picked as well.
 */
static __always_inline __be16 port_pick(bool of_all)
{
	__u32 high = config.source_port_max - config.source_port_min + 1, low = 0, pick;

	if (config.low_port_min && config.low_port_min < config.host_port_min)
		low = (of_all ? config.source_port_min : config.host_port_min) -
		      config.low_port_min;
	pick = bpf_get_prandom_u32() % (low + high);
	return bpf_htons(pick < low ? config.low_port_min + pick
				    : config.source_port_min + pick - low);
}

/* True if a socket of this node has the tuple that the backend's replies would have. */
static __noinline bool tuple_is_of_socket(void *ctx, const struct flow_key *reply_key)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sock;
	__u32 size;

	if (address_is_ipv4(&reply_key->src)) {
		tuple.ipv4.saddr = address_ipv4(&reply_key->src);
		tuple.ipv4.daddr = address_ipv4(&reply_key->dst);
		tuple.ipv4.sport = reply_key->src_port;
		tuple.ipv4.dport = reply_key->dst_port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &reply_key->src, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &reply_key->dst, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = reply_key->src_port;
		tuple.ipv6.dport = reply_key->dst_port;
		size = sizeof(tuple.ipv6);
	}
	if (reply_key->proto == IPPROTO_TCP)
		sock = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (reply_key->proto == IPPROTO_UDP)
		sock = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!sock)
		return false;
	bpf_sk_release(sock);
	return true;
}

/*
 * True if a socket of this node may use this port as a client. UDP sockets outside the range from
 * which the kernel assigns ports are servers. Looking them up would cost a tenth of a new flow; if
 * such a server does send to one of our backends, that conversation gets another port
 * (FLOW_DIRECT).
 */
static __always_inline bool socket_may_have(__u8 proto, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return proto == IPPROTO_TCP ||
	       (number >= config.host_port_min && number < config.source_port_min);
}

/*
 * Claims the draft's reply tuple with this source port. Returns 0, -EEXIST if the tuple is taken,
 * or another negative errno.
 */
static __always_inline int flow_claim_port(struct flow_draft *draft, __be16 port, bool displaces)
{
	draft->original.new_src_port = port;
	draft->reply_key.dst_port = port;
	return flow_claim_reply(displaces);
}

/*
 * True if the draft's flow may keep its client's own source port, provided that no other flow has
 * it. At an address of this node the port must be one that flows may use; and the client must not
 * be using it for datagrams straight to the backend.
 */
static __noinline bool port_may_be_kept(const struct flow_draft *draft)
{
	if (draft->is_from_node && !port_may_be_used(draft->original.new_src_port))
		return false;
	return draft->original_key.proto != IPPROTO_UDP ||
	       !direct_is_awaited(&draft->reply_key, draft->original.last_use_s);
}

/* Like flow_claim_port(), but returns -EEXIST if a socket of this node has the tuple. */
static __always_inline int flow_claim_sockets_port(void *ctx, struct flow_draft *draft, __be16 port)
{
	draft->reply_key.dst_port = port;
	if (draft->is_from_node && socket_may_have(draft->original_key.proto, port) &&
	    tuple_is_of_socket(ctx, &draft->reply_key))
		return -EEXIST;
	return flow_claim_port(draft, port, false);
}

/*
 * Claims the reply tuple, with the flow's own source port if that is free, otherwise with another
 * port. If no free port is found, a flow that is not established yet, or is closed, is displaced.
 */
static __noinline int flow_claim(void *ctx, struct flow_draft *draft, bool keeps_port)
{
	__be16 port = draft->original.new_src_port;
	int err = -EEXIST;

	flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	flow_peer(&draft->original_key, &draft->original, &draft->reply);
	draft->has_oldest = false;
	if (keeps_port && port_may_be_kept(draft))
		err = flow_claim_sockets_port(ctx, draft, port);
	for (int attempt = 0; attempt < PORT_TRIES && err == -EEXIST; attempt++)
		err = flow_claim_port(draft, port_pick(false), false);
	for (int attempt = 0; attempt < NODE_PORT_TRIES && err == -EEXIST; attempt++)
		err = flow_claim_sockets_port(ctx, draft, port_pick(true));
	if (err == -EEXIST && draft->has_oldest)
		err = flow_claim_port(draft, draft->oldest_port, true);
	if (!err)
		return 0;
	return err == -EEXIST ? -COUNTER_DROP_NO_PORT_FREE : -COUNTER_DROP_NEW_FLOWS;
}

static __always_inline void flow_draft_fill(const struct packet *packet, const struct hook *hook,
					    struct flow_draft *draft)
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
	flow_begin(packet, flow);
	flow->kind = draft->target.kind;
	flow->is_near = draft->place.is_near;
	flow->ifindex = hook->ifindex;
	draft->is_from_node = false;
}

/*
 * Chooses the source address that the backend will see: the client's, unless the reply would then
 * bypass this node or never leave the backend. Returns 0 or -enum counter_reason.
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
		if (!link_source_of(draft->route.next.ifindex, packet->family, &flow->new_src) &&
		    !link_source_of(hook->ifindex, packet->family, &flow->new_src)) {
			if (!hook->is_egress)
				return -COUNTER_DROP_NO_ROUTE;
			flow->new_src = draft->original_key.src;
		}
		/*
		 * A packet of the node itself is not forwarded, and its reply is delivered locally.
		 */
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

/* Another CPU has just created the same flow: uses that one. */
static __always_inline int flow_enter_lost(struct flow_draft *draft)
{
	bool is_confirmed;

	if (!(draft->original.flags & FLOW_DSR))
		(void)flow_delete_half(&new_flows, &draft->reply_key, &draft->reply);
	if (!flow_look(&draft->original_key, &draft->original, &is_confirmed))
		return -COUNTER_DROP_NEW_FLOWS;
	return 0;
}

/*
 * Inserts the flow into `new_flows`: both halves, or only the original half if it uses direct
 * server return. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_enter(void *ctx, struct flow_draft *draft, bool keeps_port)
{
	__u32 until_s;
	int err;

	/*
	 * Replies of direct server return bypass this node, so their tuple need not be unique here.
	 */
	if (draft->original.flags & FLOW_DSR) {
		flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
	} else {
		err = flow_claim(ctx, draft, keeps_port);
		if (err)
			return err;
	}
	until_s = draft->original.last_use_s + flow_timeout_s(draft->original_key.proto, FLOW_NEW);
	address_expect_flows(&draft->original_key.dst, until_s);
	address_expect_flows(&draft->reply_key.src, until_s);
	draft->original.check = flow_check_of(&draft->original_key);
	err = bpf_map_update_elem(&new_flows, &draft->original_key, &draft->original, BPF_NOEXIST);
	if (err == -EEXIST)
		return flow_enter_lost(draft);
	return err ? -COUNTER_DROP_NEW_FLOWS : 0;
}

/* Creates the flow that the draft describes, to a backend of a service port. */
static __always_inline int flow_open(void *ctx, const struct hook *hook, struct flow_draft *draft)
{
	int err = flow_enter(ctx, draft, true);

	if (err == -COUNTER_DROP_NO_PORT_FREE)
		exhausted_note(draft->choice.service);
	if (err)
		return err;
	stats_count_connection(draft->choice.service);
	counter_add(COUNTER_FORWARDED_NEW, hook->size);
	return 0;
}
