/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Direct server return on the backend's node: packets that other nodes have encapsulated are
 * unwrapped and go to the backend that they name; the backend's replies leave with the frontend as
 * their source, straight to the client. This node need not know the Service; if it does, the
 * Service's source ranges apply here, too.
 *
 * The sender of such a packet is trusted only if its packets can arrive by this link: an overlay,
 * or a link that leads to that node or to pods of other nodes. This costs route lookups, so packets
 * of a flow that arrived by the same link before are not checked again.
 */

#include "flow/dsr_choice.h"
#include "dsr/encapsulation.h"
#include "packet/extension.h"
#include "flow/create.h"
#include "flow/original.h"
#include "packet/fragment.h"
#include "packet/mac.h"
#include "packet/martian.h"
#include "service/node_ports_used.h"
#include "packet/packet.h"
#include "packet/taken.h"

/* The packet is now the inner one, and draft->choice names its backend. */
#define VERDICT_UNWRAPPED (-COUNTER_COUNT - 1)

/* A route may have several next hops, and a packet may have come by any: this many are sampled. */
#define WAYS_TRIED 16

/*
 * The largest number of segments cut from one GSO packet, and so the largest distance of their ids.
 */
#define SEGMENTS_MAX 128

/* The backend's port as the outer header gives it. */
static __always_inline __be16 encapsulated_port(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 offset = packet->l3_offset + (packet->family == FAMILY_IPV4
						    ? offsetof(struct iphdr, id)
						    : offsetof(struct ipv6hdr, flow_lbl) + 1);
	__be16 port = 0;

	(void)packet_load(skb, offset, &port, sizeof(port));
	return port;
}

/* True if the node that encapsulated the packet asks whether its flow is confirmed. */
static __always_inline bool encapsulated_asks(struct __sk_buff *skb, const struct packet *packet)
{
	bool is_ipv4 = packet->family == FAMILY_IPV4;
	__u8 mark = 0;

	(void)packet_load(skb,
			  packet->l3_offset + (is_ipv4 ? offsetof(struct iphdr, frag_off)
						       : offsetof(struct ipv6hdr, flow_lbl)),
			  &mark, sizeof(mark));
	return is_ipv4 ? !(mark & DONT_FRAGMENT_BIT) : mark & FLOW_LABEL_ASKS;
}

/* Reads the inner headers, which must be complete and of a packet that can belong to a flow. */
static __always_inline int encapsulated_read(struct __sk_buff *skb, const struct packet *packet,
					     struct packet *ret_inner)
{
	__builtin_memset(ret_inner, 0, sizeof(*ret_inner));
	if (packet->family == FAMILY_IPV4 ? !packet_read_ipv4(skb, packet->l4_offset, ret_inner)
					  : !packet_read_ipv6(skb, packet->l4_offset, ret_inner) ||
						    !packet_skip_extensions(skb, ret_inner))
		return -COUNTER_DROP_MALFORMED;
	if (packet_is_unsound(skb, ret_inner) ||
	    (ret_inner->fragment != FRAGMENT_LATER && !packet_read_transport(skb, ret_inner)))
		return -COUNTER_DROP_MALFORMED;
	if (packet_is_icmp(ret_inner))
		return ret_inner->fragment != FRAGMENT_LATER &&
				       icmp_type_is_error(ret_inner->family, ret_inner->icmp_type)
			       ? 0
			       : -COUNTER_DROP_MALFORMED;
	return proto_has_ports(ret_inner->proto) ? 0 : -COUNTER_DROP_MALFORMED;
}

/* Pods of this node do not count as nodes, whatever source address they use. */
static __always_inline bool sender_is_node(const struct packet *packet, const struct hook *hook)
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link = bpf_map_lookup_elem(&links, &ifindex);

	return cluster_node_of(&packet->src) == CLUSTER_NODE_OTHER &&
	       !(link && (link->is_near || link->role == LINK_POD));
}

/*
 * True if the route for draft->rewrite leads out of this link, or out of the bridge that the link
 * is a port of (0: no bridge). A global function, so that the verifier checks it once although it
 * is called in loops.
 */
__noinline int way_leads_by(struct __sk_buff *skb, __u32 ifindex, __u32 bridge)
{
	const struct hook hook = {.ifindex = ifindex};
	struct flow_draft *draft = flow_draft_get();
	struct bpf_fib_lookup fib = {.tot_len = 1}; /* always fits */
	long found;

	if (!draft)
		return false;
	found = route_ask(skb, &draft->packet, &hook, &draft->rewrite, &fib);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	return fib.ifindex == ifindex || (bridge && fib.ifindex == bridge);
}

/*
 * Sets draft->rewrite.dst to the next address whose route shows whether packets of nodes arrive by
 * a link. First that is the sender's address, WAYS_TRIED times; then the addresses of pods on other
 * nodes, because where pods have a network of their own, packets from nodes to pods arrive by that.
 * Returns false if there is no address for this number.
 */
static __always_inline bool witness_take(struct flow_draft *draft, __u32 number)
{
	bool is_ipv4 = address_is_ipv4(&draft->sender);
	const struct backend *backend;
	__u32 place, *id;

	if (number < WAYS_TRIED) {
		draft->rewrite.dst = draft->sender;
		return true;
	}
	place = number - WAYS_TRIED + (is_ipv4 ? 0 : FAR_BACKENDS);
	id = bpf_map_lookup_elem(&far_backends, &place);
	backend = id && *id ? bpf_map_lookup_elem(&backends, id) : NULL;
	if (!backend || backend->state == BACKEND_FREE ||
	    (backend->flags & (BACKEND_LOCAL | BACKEND_ON_NODE)) != BACKEND_ON_NODE ||
	    address_is_ipv4(&backend->addr) != is_ipv4 || cluster_node_of(&backend->addr))
		return false;
	draft->rewrite.dst = backend->addr;
	return true;
}

/*
 * True if packets of the node with the address draft->sender can arrive by this link: it is an
 * overlay, which joins nodes, or the route to that node or to pods of other nodes leads out of it.
 * If a route has several next hops, the kernel picks one by the pair of addresses, so other sources
 * are tried.
 */
static __noinline bool link_leads_to_sender(struct __sk_buff *skb, const struct hook *hook,
					    struct flow_draft *draft)
{
	__u32 ifindex = hook->ifindex;
	const struct link_info *link = bpf_map_lookup_elem(&links, &ifindex);

	if (!link)
		return false;
	if (link->role == LINK_OVERLAY || (link->bridge && mac_is_zero(link->mac)))
		return true;
	draft->rewrite.src = draft->choice.addr;
	draft->rewrite.src_port = 0;
	draft->rewrite.dst_port = 0;
	for (__u32 number = 0; number < WAYS_TRIED + FAR_BACKENDS; number++) {
		if (witness_take(draft, number) && way_leads_by(skb, ifindex, link->bridge))
			return true;
		address_words(&draft->rewrite.src)[3] = bpf_get_prandom_u32();
	}
	return false;
}

/* True unless the Service has source ranges that do not include the packet's client. */
static __noinline bool client_is_allowed(const struct packet *packet)
{
	const struct frontend_target *target =
		frontend_lookup(&packet->dst, packet->dst_port, packet->proto);

	return !target || source_is_allowed(&packet->src, target);
}

/*
 * True if the backend, the packet's destination, is on this node and the packet is not merely
 * routed through it.
 */
static __always_inline bool backend_is_here(void *ctx, const struct packet *packet,
					    const struct address_info *address,
					    const struct hook *hook, struct flow_draft *draft)
{
	const struct link_info *link;
	__u32 ifindex;

	if (address->flags & ADDRESS_NODE)
		return true;
	draft->rewrite = (struct rewrite){.src = packet->src, .dst = packet->dst};
	if (route_find(ctx, packet, hook, &draft->rewrite, &draft->route))
		return false;
	ifindex = draft->route.next.ifindex;
	link = bpf_map_lookup_elem(&links, &ifindex);
	return !link || (link->role != LINK_UPLINK && link->role != LINK_OVERLAY);
}

/*
 * True if an encapsulated packet with the port `named` may belong to a flow to `port`: the two are
 * equal, or the kernel incremented the number once for each segment.
 */
static __always_inline bool port_is_meant(__be16 named, __be16 port)
{
	return (__u16)(bpf_ntohs(named) - bpf_ntohs(port)) < SEGMENTS_MAX;
}

/*
 * True if a packet from another node belongs to this flow. The packet names its backend: a new
 * conversation from the same client port may go to another backend than the last one, once that is
 * over. In the middle of a conversation only the backend's address counts.
 */
static __always_inline bool flow_is_received(const struct packet *packet, const struct flow *flow,
					     const struct choice *choice)
{
	bool is_midst = proto_has_handshake(packet->proto) && !packet_opens(packet);

	if (flow->flags & (FLOW_DSR | FLOW_SOURCE_NAT | FLOW_HAIRPIN | FLOW_LOCAL_CLIENT) ||
	    flow_is_expired(flow, packet->proto, now_seconds()))
		return false;
	if (proto_has_handshake(packet->proto) && !is_midst && packet->fragment != FRAGMENT_LATER &&
	    flow->state >= FLOW_ESTABLISHED)
		return flow->state != FLOW_CLOSED;
	if (!address_equal(&flow->new_dst, &choice->addr))
		return false;
	return is_midst || port_is_meant(choice->port, flow->new_dst_port);
}

/*
 * True if the packet belongs to a flow that began earlier. Checked if direct server return is
 * switched off, when new flows are not accepted.
 */
static __always_inline bool encapsulated_is_known(struct flow_draft *draft)
{
	const struct packet *inner = &draft->quote;
	bool is_confirmed;

	packet_flow_key(inner, FLOW_ORIGINAL, &draft->original_key);
	return flow_look(&draft->original_key, &draft->original, &is_confirmed) &&
	       draft->original.flags & FLOW_DSR_RECEIVED &&
	       flow_is_received(inner, &draft->original, &draft->choice);
}

/*
 * Checks whether an encapsulated packet to a backend's address is meant for us, and fills
 * draft->quote and draft->choice. Returns VERDICT_UNWRAPPED if so, VERDICT_NEXT if not, or -enum
 * counter_reason.
 */
static __noinline int encapsulated_judge(struct __sk_buff *skb, const struct packet *packet,
					 const struct address_info *address,
					 const struct hook *hook, struct flow_draft *draft)
{
	struct packet *inner = &draft->quote;
	const struct address_info *frontend;
	int err;

	/* The stack strips a tag that is still in the packet, and then the packet is seen again. */
	if (packet->fragment != FRAGMENT_NONE || packet->l3_offset != hook->link_header_size)
		return VERDICT_NEXT;
	err = encapsulated_read(skb, packet, inner);
	/*
	 * Other tunnels may end at this node: inner packets that are not for a frontend are theirs.
	 */
	if (address->flags & ADDRESS_NODE) {
		frontend = err ? NULL : address_lookup(&inner->dst);
		if (err ||
		    (!(frontend && frontend->flags & ADDRESS_VIP) && !cluster_node_of(&inner->dst)))
			return VERDICT_NEXT;
	}
	if (!sender_is_node(packet, hook))
		return config.forwarding == FORWARDING_SNAT ? VERDICT_NEXT
							    : -COUNTER_DROP_NOT_A_NODE;
	if (!err && inner->fragment != FRAGMENT_NONE && !fragment_ports(inner))
		err = -COUNTER_DROP_FRAGMENT;
	__builtin_memset(&draft->choice, 0, sizeof(draft->choice));
	draft->choice.flags = BACKEND_LOCAL;
	draft->choice.addr = packet->dst;
	draft->choice.port = encapsulated_port(skb, packet);
	draft->asks = encapsulated_asks(skb, packet);
	if (config.forwarding == FORWARDING_SNAT && (err || !encapsulated_is_known(draft)))
		return VERDICT_NEXT;
	if (!backend_is_here(skb, packet, address, hook, draft))
		return VERDICT_NEXT;
	return err ? err : VERDICT_UNWRAPPED;
}

/*
 * Removes the outer header of a packet that another node has encapsulated for a backend of this
 * one; then `packet` is the inner packet. Returns VERDICT_UNWRAPPED, VERDICT_NEXT if the packet is
 * not ours, or -enum counter_reason.
 */
static __always_inline int dsr_unwrap(struct __sk_buff *skb, struct packet *packet,
				      const struct address_info *address, const struct hook *hook,
				      struct flow_draft *draft)
{
	__u32 size = packet->l4_offset - packet->l3_offset;
	int verdict;

	verdict = encapsulated_judge(skb, packet, address, hook, draft);
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	if (bpf_skb_adjust_room(skb, -(__s32)size, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -COUNTER_DROP_REWRITE;
	draft->sender = packet->src;
	*packet = draft->quote;
	packet->l3_offset -= size;
	packet->l4_offset -= size;
	return VERDICT_UNWRAPPED;
}

/*
 * Uses the flow of draft->original for a packet. A packet that asks gets a confirmation if the flow
 * is confirmed, at most once a second: a network that changes the mark must not make every packet
 * cause an answer.
 */
static __always_inline void received_go_on(struct flow_draft *draft, struct flow *entry,
					   const struct packet *packet, bool is_confirmed)
{
	struct flow *flow = &draft->original;
	bool was_quiet = flow->last_use_s != now_seconds();

	(void)flow_go_on(draft, entry, packet, is_confirmed);
	draft->must_confirm = draft->asks && (!is_confirmed || was_quiet) &&
			      (flow->state == FLOW_ESTABLISHED || flow->state == FLOW_CLOSING);
}

/* The draft describes a flow that is still to be created. */
#define FLOW_IS_NEW 1

/*
 * Looks up the flow of an unwrapped packet, into draft->original and draft->original_key. Returns
 * 0, FLOW_IS_NEW or -enum counter_reason.
 */
static __noinline int dsr_flow(struct __sk_buff *skb, const struct packet *packet,
			       const struct hook *hook, struct flow_draft *draft)
{
	struct flow_key *key = &draft->original_key;
	bool is_confirmed, is_known;
	struct flow *entry;

	packet_flow_key(packet, FLOW_ORIGINAL, key);
	entry = flow_look(key, &draft->original, &is_confirmed);
	is_known = entry && flow_is_received(packet, &draft->original, &draft->choice);
	if (!(is_known && draft->original.ifindex == hook->ifindex) &&
	    !link_leads_to_sender(skb, hook, draft))
		return -COUNTER_DROP_NOT_A_NODE;
	if (is_known) {
		received_go_on(draft, entry, packet, is_confirmed);
		return 0;
	}
	if (!client_is_allowed(packet))
		return -COUNTER_DROP_SOURCE_RANGE;
	if (entry && !flow_forget(FLOW_ORIGINAL, FLOW_LEAVES_NOTHING))
		return -COUNTER_DROP_FLOW_BUSY;
	__builtin_memset(&draft->target, 0, sizeof(draft->target));
	__builtin_memset(&draft->place, 0, sizeof(draft->place));
	flow_draft_fill(packet, hook, draft);
	draft->original.flags = FLOW_DSR_RECEIVED;
	return FLOW_IS_NEW;
}
