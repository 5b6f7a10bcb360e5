/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Direct server return: how the node at which a client's packets arrive learns that a flow is
 * confirmed. That node sees only the client's packets, and a client that never hears an answer can
 * send those too. The backend's node sees both sides. So until a flow is confirmed, the outer
 * headers of the client's packets ask (dsr/encapsulation.h). If the flow is confirmed on the
 * backend's node, that node sends an asking packet back, as it came, to the node that sent it.
 */

#include "dsr/encapsulation.h"
#include "dsr/sender.h"

/*
 * Sends a copy of an unwrapped packet, encapsulated again, back out of the link and to the node
 * that it came from. GSO packets and packets that still have a VLAN tag are not copied: the next
 * packet that asks will do. The outer header counts as part of the packet here, because the kernel
 * may still regard the packet as encapsulated, and encapsulates nothing twice. Returns 0, with the
 * packet as it was before, or -COUNTER_DROP_REWRITE if it could not be restored.
 */
static __noinline int confirmation_send(struct __sk_buff *skb, const struct packet *packet,
					const struct hook *hook, struct scratch *scratch)
{
	__u32 size = packet_network_size(skb, packet);
	__s32 room = (__s32)encapsulation_size(packet->family);
	enum counter_reason outcome = COUNTER_CONFIRMATION_UNSENT;
	__u8 dscp = packet_dscp(skb, packet);
	__u8 macs[2 * ETH_ALEN] = {};

	if (skb->gso_size || skb->vlan_present ||
	    !node_address_of(packet->family, &scratch->rewrite.src) ||
	    (hook->link_header_size && bpf_skb_load_bytes(skb, 0, macs, sizeof(macs))) ||
	    bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
		counter_add(COUNTER_CONFIRMATION_UNSENT, hook->size);
		return 0;
	}
	scratch->rewrite.dst = scratch->dsr.sender;
	scratch->rewrite.dst_port = scratch->decision.choice.port;
	scratch->dsr.asks = false;
	if (outer_write(skb, packet->family, hook, scratch, size, dscp) ||
	    packet_swap_macs(skb, hook))
		return -COUNTER_DROP_REWRITE;
	/* On its way out the copy meets our programs, which use the same scratch. */
	scratch->dsr.is_sending = true;
	barrier();
	if (!bpf_clone_redirect(skb, hook->ifindex, 0))
		outcome = COUNTER_CONFIRMATION_SENT;
	barrier();
	counter_add(outcome, hook->size);
	scratch->dsr.is_sending = false;
	if ((hook->link_header_size && bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0)) ||
	    bpf_skb_adjust_room(skb, -room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -COUNTER_DROP_REWRITE;
	return 0;
}

/*
 * Handles an encapsulated packet to this node: it may be one that this node sent, returned as a
 * confirmation by the backend's node. Returns VERDICT_DROPPED if so.
 */
static __noinline enum verdict
confirmation_receive(struct __sk_buff *skb, const struct packet *packet, const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	struct flow *entry, *flow;
	bool is_confirmed;

	if (!scratch || packet->fragment != FRAGMENT_NONE ||
	    packet->l3_offset != hook->link_header_size || !sender_is_node(packet, hook) ||
	    encapsulated_read(skb, packet, &scratch->dsr.inner) ||
	    packet_is_icmp(&scratch->dsr.inner) || scratch->dsr.inner.fragment != FRAGMENT_NONE)
		return VERDICT_NEXT;
	flow = &scratch->pair.original;
	packet_flow_key(&scratch->dsr.inner, FLOW_ORIGINAL, &scratch->pair.original_key);
	entry = flow_read(&scratch->pair.original_key, flow, &is_confirmed);
	if (!entry || !(flow->flags & FLOW_DSR))
		return VERDICT_NEXT;
	scratch->dsr.sender = packet->src;
	if (!link_leads_to_sender(skb, hook, scratch, &packet->dst))
		return verdict_give_up(COUNTER_DROP_NOT_A_NODE);
	if (!is_confirmed && flow->state == FLOW_REPLIED) {
		flow->state = FLOW_ESTABLISHED;
		entry->state = FLOW_ESTABLISHED;
		scratch->due = FLOW_DUE_CONFIRM;
	}
	counter_add(COUNTER_CONFIRMATION, hook->size);
	return VERDICT_DROPPED;
}
