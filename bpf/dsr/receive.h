/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Direct server return on the backend's node: packets that other nodes have encapsulated are
 * unwrapped and go to the backend that they name; the backend's replies leave with the frontend as
 * their source, straight to the client. This node need not know the Service; if it does, the
 * Service's source ranges apply here, too.
 */

#include "dsr/confirmation.h"
#include "dsr/encapsulation.h"
#include "dsr/sender.h"
#include "flow/create.h"
#include "flow/original.h"
#include "nat/nat.h"
#include "packet/fragment.h"
#include "send/icmp.h"

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
					    const struct hook *hook, struct scratch *scratch)
{
	const struct link_info *link;
	__u32 ifindex;

	if (address->flags & ADDRESS_NODE)
		return true;
	scratch->rewrite = (struct rewrite){.src = packet->src, .dst = packet->dst};
	if (route_find(ctx, packet, hook, &scratch->rewrite, &scratch->route))
		return false;
	ifindex = scratch->route.next.ifindex;
	link = bpf_map_lookup_elem(&links, &ifindex);
	return !link || (link->role != LINK_UPLINK && link->role != LINK_OVERLAY);
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
static __always_inline bool encapsulated_is_known(struct scratch *scratch)
{
	const struct packet *inner = &scratch->dsr.inner;
	bool is_confirmed;

	packet_flow_key(inner, FLOW_ORIGINAL, &scratch->pair.original_key);
	return flow_read(&scratch->pair.original_key, &scratch->pair.original, &is_confirmed) &&
	       scratch->pair.original.flags & FLOW_DSR_RECEIVED &&
	       flow_is_received(inner, &scratch->pair.original, &scratch->decision.choice);
}

/*
 * Checks whether an encapsulated packet to a backend's address is meant for us, and fills
 * scratch->dsr.inner and scratch->decision.choice. Returns VERDICT_UNWRAPPED if so, VERDICT_NEXT if
 * not.
 */
static __noinline enum verdict encapsulated_judge(struct __sk_buff *skb,
						  const struct packet *packet,
						  const struct address_info *address,
						  const struct hook *hook, struct scratch *scratch)
{
	struct packet *inner = &scratch->dsr.inner;
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
		return config.forwarding == FORWARDING_SNAT
			       ? VERDICT_NEXT
			       : verdict_give_up(COUNTER_DROP_NOT_A_NODE);
	if (!err && inner->fragment != FRAGMENT_NONE && !fragment_ports(inner))
		err = -COUNTER_DROP_FRAGMENT;
	__builtin_memset(&scratch->decision.choice, 0, sizeof(scratch->decision.choice));
	scratch->decision.choice.flags = BACKEND_LOCAL;
	scratch->decision.choice.addr = packet->dst;
	scratch->decision.choice.port = encapsulated_port(skb, packet);
	scratch->dsr.asked = encapsulated_asks(skb, packet);
	if (config.forwarding == FORWARDING_SNAT && (err || !encapsulated_is_known(scratch)))
		return VERDICT_NEXT;
	if (!backend_is_here(skb, packet, address, hook, scratch))
		return VERDICT_NEXT;
	return err ? verdict_of(err) : VERDICT_UNWRAPPED;
}

/*
 * Removes the outer header of a packet that another node has encapsulated for a backend of this
 * one; then `packet` is the inner packet. Returns VERDICT_UNWRAPPED, or VERDICT_NEXT if the packet
 * is not ours.
 */
static __always_inline enum verdict dsr_unwrap(struct __sk_buff *skb, struct packet *packet,
					       const struct address_info *address,
					       const struct hook *hook, struct scratch *scratch)
{
	__u32 size = packet->l4_offset - packet->l3_offset;
	enum verdict verdict;

	verdict = encapsulated_judge(skb, packet, address, hook, scratch);
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	if (bpf_skb_adjust_room(skb, -(__s32)size, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return verdict_give_up(COUNTER_DROP_REWRITE);
	scratch->dsr.sender = packet->src;
	*packet = scratch->dsr.inner;
	packet->l3_offset -= size;
	packet->l4_offset -= size;
	return VERDICT_UNWRAPPED;
}

/*
 * Uses the flow of scratch->pair.original for a packet. A packet that asks gets a confirmation if
 * the flow is confirmed, at most once a second: a network that changes the mark must not make every
 * packet cause an answer.
 */
static __always_inline void dsr_received_go_on(struct scratch *scratch, struct flow *entry,
					       const struct packet *packet, bool is_confirmed)
{
	struct flow *flow = &scratch->pair.original;
	bool was_quiet = flow->last_use_s != now_seconds();

	(void)flow_go_on(scratch, entry, packet, is_confirmed);
	scratch->dsr.must_confirm =
		scratch->dsr.asked && (!is_confirmed || was_quiet) &&
		(flow->state == FLOW_ESTABLISHED || flow->state == FLOW_CLOSING);
}

/*
 * Looks up the flow of an unwrapped packet, into scratch->pair.original and
 * scratch->pair.original_key. Returns VERDICT_NEXT if it has one, VERDICT_OPEN_FLOW if it opens
 * one.
 */
static __noinline enum verdict dsr_flow(struct __sk_buff *skb, const struct packet *packet,
					const struct hook *hook, struct scratch *scratch)
{
	struct flow_key *key = &scratch->pair.original_key;
	bool is_confirmed, is_known;
	struct flow *entry;

	packet_flow_key(packet, FLOW_ORIGINAL, key);
	entry = flow_read(key, &scratch->pair.original, &is_confirmed);
	is_known = entry &&
		   flow_is_received(packet, &scratch->pair.original, &scratch->decision.choice);
	if (!(is_known && scratch->pair.original.ifindex == hook->ifindex) &&
	    !link_leads_to_sender(skb, hook, scratch, &scratch->decision.choice.addr))
		return verdict_give_up(COUNTER_DROP_NOT_A_NODE);
	if (is_known) {
		dsr_received_go_on(scratch, entry, packet, is_confirmed);
		return VERDICT_NEXT;
	}
	if (!client_is_allowed(packet))
		return verdict_give_up(COUNTER_DROP_SOURCE_RANGE);
	if (entry && !flow_end(FLOW_ORIGINAL, FLOW_LEAVES_NOTHING))
		return verdict_give_up(COUNTER_DROP_FLOW_BUSY);
	__builtin_memset(&scratch->decision.target, 0, sizeof(scratch->decision.target));
	__builtin_memset(&scratch->decision.place, 0, sizeof(scratch->decision.place));
	flow_describe_decided(packet, hook, scratch);
	scratch->pair.original.flags = FLOW_DSR_RECEIVED;
	return VERDICT_OPEN_FLOW;
}

/*
 * Translates an ICMP error about a packet from a backend of this node, using the addresses that the
 * backend knows.
 */
static __noinline enum verdict dsr_receive_icmp(struct __sk_buff *skb, const struct packet *packet,
						const struct hook *hook, struct scratch *scratch)
{
	const struct flow *flow;
	int err;

	if (!icmp_read_quote(skb, packet, &scratch->icmp))
		return verdict_give_up(COUNTER_DROP_ICMP);
	flow = icmp_find_flow(&scratch->icmp, FLOW_ORIGINAL);
	if (!flow || !(flow->flags & FLOW_DSR_RECEIVED))
		return verdict_give_up(COUNTER_DROP_ICMP);
	if (flow->ifindex != hook->ifindex &&
	    !link_leads_to_sender(skb, hook, scratch, &scratch->decision.choice.addr))
		return verdict_give_up(COUNTER_DROP_NOT_A_NODE);
	icmp_outer(packet, &scratch->icmp.quote, flow, &scratch->rewrite);
	err = icmp_rewrite(skb, packet, &scratch->icmp, flow, &scratch->rewrite);
	if (err)
		return verdict_of(err);
	counter_add(COUNTER_ICMP_TRANSLATED, hook->size);
	return VERDICT_NEXT;
}

/*
 * Handles the packet of this CPU's scratch, which another node may have encapsulated for a backend
 * of this one. A global function, like run_deferred().
 */
__noinline enum verdict dsr_receive(struct __sk_buff *skb, __u32 link_header_size)
{
	struct hook hook = {.link_header_size = link_header_size};
	struct scratch *scratch = scratch_get();
	const struct address_info *address;
	enum verdict verdict;
	struct packet *packet;
	int err;

	if (!scratch)
		return VERDICT_NEXT;
	packet = &scratch->packet;
	hook.ifindex = skb->ifindex;
	hook.size = skb->len;
	address = address_lookup(&packet->dst);
	if (!address)
		return VERDICT_NEXT;
	verdict = dsr_unwrap(skb, packet, address, &hook, scratch);
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	if (packet_is_icmp(packet))
		return dsr_receive_icmp(skb, packet, &hook, scratch);
	scratch->dsr.must_confirm = false;
	verdict = dsr_flow(skb, packet, &hook, scratch);
	if (verdict == VERDICT_OPEN_FLOW)
		verdict = verdict_of(flow_open(skb, &hook, scratch));
	if (verdict != VERDICT_NEXT)
		return verdict;
	if (scratch->dsr.must_confirm) {
		err = confirmation_send(skb, packet, &hook, scratch);
		if (err)
			return verdict_of(err);
	}
	rewrite_from_flow(&scratch->pair.original, &scratch->rewrite);
	return verdict_of(nat_rewrite(skb, packet, &scratch->rewrite));
}
