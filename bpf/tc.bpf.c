/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The TC hooks, which see routed packets on every managed link. Ingress corresponds to netfilter's
 * PREROUTING, egress to POSTROUTING; between the two the kernel routes.
 *
 * ingress   Look up the destination in `addresses`.
 *           Unknown: leave the packet alone; most packets end here. The same goes for packets that
 *           the stack would not accept.
 *           A VIP: the packet belongs to a flow, opens one, is an echo request to answer, or is
 *           refused. If it opens one: to_vip() -> original_follow_or_open() -> original_open(),
 *           which has the backend chosen (flow/original.h, service/select.h).
 *           An address of this node: the packet is a reply to a process of the node, is for a
 *           NodePort and handled like one to a VIP, or is the node's own business.
 *           A backend: its client talks to it directly; remove a flow that would interfere. Or
 *           another node has encapsulated a client's packet for it: unwrap the packet, which
 *           belongs to a flow.
 * egress    Look up the source in `addresses`.
 *           A backend that has flows: this may be a reply, and gets the frontend as its source.
 *           An address of this node, on a packet that did not arrive by a link: the node itself
 *           sends it. To a VIP: as at ingress.
 * both      ICMP errors: the quoted packet decides.
 *
 * Actions: TC_ACT_UNSPEC (the next program on this hook, whether translated or not), TC_ACT_SHOT
 * (counted where it is decided), TC_ACT_REDIRECT (answers, hairpin, packets of the node itself).
 */

#include "dsr/confirmation.h"
#include "dsr/encapsulation.h"
#include "dsr/error.h"
#include "dsr/flow_state.h"
#include "dsr/receive.h"
#include "flow/create.h"
#include "flow/deferred.h"
#include "flow/direct_flow.h"
#include "flow/original.h"
#include "flow/own_ports.h"
#include "flow/own_vip.h"
#include "flow/reply.h"
#include "packet/ports.h"
#include "packet/accepted.h"
#include "send/flow_forward.h"
#include "send/icmp.h"
#include "send/reject.h"
#include "send/transit.h"
#include "service/address_kind.h"
#include "service/node_ports_used.h"
#include "service/service_cidr.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Decides on a packet to a port on which the address has no frontend. */
static __always_inline enum verdict to_unknown_port(const struct packet *packet,
						    const struct address_info *address)
{
	if (address->flags & ADDRESS_CLUSTER_IP)
		return verdict_give_up(COUNTER_REJECT_NO_PORT);
	return (address->flags & ~ADDRESS_BACKEND) == ADDRESS_RETIRED
		       ? service_cidr_verdict(&packet->dst)
		       : VERDICT_NEXT;
}

/*
 * Handles a packet to a VIP that has no usable flow: the packet opens one, or is refused.
 * original_decide() (flow/original.h) chooses the backend, flow_create() (flow/create.h) the source
 * that the backend sees.
 */
static __noinline enum verdict original_open(struct __sk_buff *skb, const struct packet *packet,
					     const struct address_info *address,
					     const struct hook *hook, struct scratch *scratch)
{
	enum verdict verdict = original_decide(skb, packet, address, hook, scratch);
	int err;

	if (verdict == VERDICT_NO_FRONTEND)
		return to_unknown_port(packet, address);
	if (verdict != VERDICT_OPEN_FLOW)
		return verdict;
	err = flow_create(skb, packet, hook, scratch);
	if (err)
		return verdict_of(err);
	return flow_forward_original(skb, packet, &scratch->pair.original, hook);
}

/* Handles a packet from a backend: sends it to the client if it belongs to a flow. */
static __always_inline enum verdict reply(struct __sk_buff *skb, const struct packet *packet,
					  const struct hook *hook)
{
	const struct flow *flow = reply_flow();

	return flow ? flow_forward(skb, packet, flow, FLOW_REPLY, hook) : VERDICT_NEXT;
}

/*
 * Handles a packet to a VIP that may be a backend's answer to a client whose address the VIP
 * replaced. Returns VERDICT_ASK_VIP if the packet is no such answer.
 */
static __noinline enum verdict hairpin_reply(struct __sk_buff *skb, const struct packet *packet,
					     const struct hook *hook)
{
	const struct flow *flow;

	if (!backend_may_have_flows(&packet->src))
		return VERDICT_ASK_VIP;
	flow = reply_flow();
	return flow ? flow_forward(skb, packet, flow, FLOW_REPLY, hook) : VERDICT_ASK_VIP;
}

/*
 * Handles a packet to a VIP. If it has a flow, it follows that flow, gets another backend, or is
 * refused. If it has none, it may be the reply of a hairpin's backend, which sees the VIP as its
 * client; otherwise it opens a flow: original_open().
 */
static __always_inline enum verdict original_follow_or_open(struct __sk_buff *skb,
							    const struct packet *packet,
							    const struct address_info *address,
							    const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	struct flow *entry, *flow;
	bool is_confirmed, is_ended;
	enum verdict verdict;
	enum flow_use use;

	if (!scratch)
		return verdict_give_up(COUNTER_DROP_NEW_FLOWS);
	flow = &scratch->pair.original;
	entry = original_find(packet, &scratch->pair, &is_confirmed);
	if (!entry) {
		verdict = hairpin_reply(skb, packet, hook);
		return verdict == VERDICT_ASK_VIP
			       ? original_open(skb, packet, address, hook, scratch)
			       : verdict;
	}
	use = flow_use_of(packet, flow, entry, address);
	if (use == FLOW_GO_ON && flow->flags & FLOW_DSR) {
		(void)dsr_go_on(scratch, entry, packet, is_confirmed);
		return flow_forward_original(skb, packet, flow, hook);
	}
	if (use == FLOW_GO_ON) {
		(void)flow_go_on(scratch, entry, packet, is_confirmed);
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	}
	is_ended = original_end(scratch, use, hook);
	if (use == FLOW_REFUSE)
		return verdict_give_up(COUNTER_REJECT_DEAD_BACKEND);
	if (!is_ended)
		return verdict_give_up(COUNTER_DROP_FLOW_BUSY);
	return original_open(skb, packet, address, hook, scratch);
}

/* Handles every packet whose destination is a VIP, or a NodePort's address and no reply. */
static __always_inline enum verdict to_vip(struct __sk_buff *skb, struct packet *packet,
					   const struct address_info *address,
					   const struct hook *hook)
{
	bool is_ours = address->flags & ADDRESS_CLUSTER_IP;
	int err;

	err = packet_read_ports(skb, packet);
	if (err)
		return is_ours ? verdict_of(err) : VERDICT_NEXT;
	if (packet_is_icmp(packet))
		return icmp_to_vip(skb, packet, address, hook);
	if (proto_has_ports(packet->proto))
		return original_follow_or_open(skb, packet, address, hook);
	return is_ours ? verdict_give_up(COUNTER_REJECT_PROTOCOL) : VERDICT_NEXT;
}

/*
 * Handles a packet to a backend's own address, from a client that may also have flows to it.
 * Returns true if the packet was translated.
 */
static __noinline bool to_backend(struct __sk_buff *skb, struct packet *packet,
				  const struct address_info *address, const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	bool has_flows, is_confirmed;
	struct flow *entry;

	if (!scratch || (!proto_has_ports(packet->proto) && !proto_is_extension(packet->proto)))
		return false;
	has_flows = address_may_have_flows(address);
	if (!has_flows && proto_has_handshake(packet->proto))
		return false;
	if (packet_read_ports_noinline(skb, packet) || packet->fragment == FRAGMENT_LATER ||
	    !proto_has_ports(packet->proto))
		return false;
	entry = has_flows ? direct_flow(packet, address, &scratch->pair, &is_confirmed) : NULL;
	if (entry)
		(void)flow_go_on(scratch, entry, packet, is_confirmed);
	else if (!packet_opens(packet) ||
		 !direct_begin(skb, packet, address, has_flows, hook, scratch))
		return false;
	rewrite_from_flow(&scratch->pair.original, &scratch->rewrite);
	return !nat_rewrite(skb, packet, &scratch->rewrite);
}

/* Handles a packet from a backend: the reply of a flow if the backend has flows. */
static __always_inline enum verdict from_backend(struct __sk_buff *skb, struct packet *packet,
						 const struct address_info *address,
						 const struct hook *hook)
{
	if (!address_may_have_flows(address))
		return VERDICT_NEXT;
	if (packet_read_ports(skb, packet))
		return VERDICT_NEXT;
	if (!proto_has_ports(packet->proto))
		return VERDICT_NEXT;
	return reply(skb, packet, hook);
}

/*
 * Handles a packet for an address of this node: the reply to one of its processes or to a client
 * whose address the node's replaced; or a packet for a NodePort; or, most often, none of these. The
 * small tables are consulted first, so that only packets that may belong to a flow cost a lookup in
 * the flow tables, and only one. Returns VERDICT_ASK_VIP if the packet is for a frontend of the
 * address or is an ICMP error.
 */
static __noinline enum verdict to_node(struct __sk_buff *skb, struct packet *packet,
				       const struct address_info *address, const struct hook *hook)
{
	const struct flow *flow;
	bool may_be_reply;

	if (packet_is_icmp(packet)) {
		if (packet->fragment == FRAGMENT_LATER || !packet_read_transport(skb, packet) ||
		    !icmp_type_is_error(packet->family, packet->icmp_type))
			return VERDICT_NEXT;
		return VERDICT_ASK_VIP;
	}
	may_be_reply = backend_may_have_flows(&packet->src);
	if (!may_be_reply && !(address->flags & ADDRESS_VIP))
		return VERDICT_NEXT;
	if (packet_read_ports_noinline(skb, packet))
		return VERDICT_NEXT;
	if (!proto_has_ports(packet->proto))
		return VERDICT_NEXT;
	if (may_be_reply) {
		flow = reply_flow();
		if (flow)
			return flow_forward(skb, packet, flow, FLOW_REPLY, hook);
	}
	return is_for_node_port(packet, address) ? VERDICT_ASK_VIP : VERDICT_NEXT;
}

/*
 * Handles a packet to a backend from a process that is bound to a VIP. Returns VERDICT_NEXT if the
 * packet keeps its source.
 */
static __noinline enum verdict from_own_vip(struct __sk_buff *skb, struct packet *packet,
					    const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	struct flow *entry, *flow;
	bool is_confirmed;
	int err;

	if (!scratch || packet_is_translated(skb) || !vip_needs_node_address(packet, hook) ||
	    packet_read_ports_noinline(skb, packet) || !proto_has_ports(packet->proto))
		return VERDICT_NEXT;
	flow = &scratch->pair.original;
	entry = original_find(packet, &scratch->pair, &is_confirmed);
	if (entry && own_vip_flow_goes_on(packet, flow)) {
		(void)flow_go_on(scratch, entry, packet, is_confirmed);
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	}
	if (!packet_opens(packet) || !own_vip_choice(skb, packet, &scratch->decision))
		return VERDICT_NEXT;
	if (entry && !flow_end(FLOW_ORIGINAL, FLOW_LEAVES_NOTHING))
		return verdict_give_up(COUNTER_DROP_FLOW_BUSY);
	err = flow_create(skb, packet, hook, scratch);
	if (err)
		return verdict_of(err);
	return flow_forward(skb, packet, &scratch->pair.original, FLOW_ORIGINAL, hook);
}

/*
 * Handles a packet to an address that no Service has: drops it only if this node would have
 * forwarded it.
 */
static __always_inline enum verdict ingress_to_nobody(struct __sk_buff *skb, struct packet *packet,
						      const struct hook *hook)
{
	enum verdict verdict = service_cidr_verdict(&packet->dst);

	return verdict && packet_is_accepted(skb, packet, hook) &&
			       !(packet->flags & PACKET_FOR_BRIDGE)
		       ? verdict
		       : VERDICT_NEXT;
}

static __always_inline enum verdict ingress(struct __sk_buff *skb, struct packet *packet,
					    const struct hook *hook)
{
	const struct address_info *address = address_lookup(&packet->dst);
	enum verdict verdict;

	if (!address)
		return ingress_to_nobody(skb, packet, hook);
	if (!packet_is_accepted(skb, packet, hook)) {
		counter_add(COUNTER_SKIPPED, hook->size);
		return VERDICT_NEXT;
	}
	if (address->flags & ADDRESS_NODE && packet_is_encapsulated(packet)) {
		verdict = confirmation_receive(skb, packet, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	if (address->flags & ADDRESS_BACKEND && packet_is_encapsulated(packet))
		return dsr_receive(skb, hook->link_header_size);
	if (address->flags & ADDRESS_BACKEND && to_backend(skb, packet, address, hook))
		return VERDICT_NEXT;
	if (packet->flags & PACKET_FOR_BRIDGE)
		return VERDICT_NEXT;
	if (address->flags & ADDRESS_NODE) {
		verdict = to_node(skb, packet, address, hook);
		if (verdict == VERDICT_ASK_VIP && packet_is_icmp(packet)) {
			verdict = dsr_error(skb, packet, hook);
			if (verdict == VERDICT_NEXT)
				verdict = VERDICT_ASK_VIP;
		}
		if (verdict != VERDICT_ASK_VIP)
			return verdict;
	} else if (!(address->flags & ADDRESS_VIP)) {
		return VERDICT_NEXT;
	}
	return to_vip(skb, packet, address, hook);
}

static __always_inline enum verdict egress(struct __sk_buff *skb, struct packet *packet,
					   const struct hook *hook)
{
	const struct address_info *address;
	bool is_from_vip;
	enum verdict verdict;

	if (packet_is_icmp(packet) && packet->fragment != FRAGMENT_LATER &&
	    packet_read_transport(skb, packet) &&
	    icmp_type_is_error(packet->family, packet->icmp_type)) {
		verdict = icmp_error_about_flow(skb, packet, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	address = address_lookup(&packet->src);
	/* Packets from a loopback address are never forwarded, so they are the node's own. */
	if (!skb->ingress_ifindex &&
	    (address ? address->flags & ADDRESS_NODE : address_is_loopback(&packet->src)))
		packet->flags |= PACKET_OF_NODE;
	if (address && address->flags & ADDRESS_BACKEND) {
		verdict = from_backend(skb, packet, address, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	if (address && has_node_ports(address))
		own_reply_note(skb, packet);
	/*
	 * Only the node's own packets have not passed an ingress hook yet. Packets of a guest with
	 * an address of its own on this link (macvlan) are not the node's, nor is a translated
	 * reply.
	 */
	if (!(packet->flags & PACKET_OF_NODE))
		return VERDICT_NEXT;
	is_from_vip = address && is_vip_of_node(address);
	address = address_lookup(&packet->dst);
	if (!address)
		return service_cidr_verdict(&packet->dst);
	if (address->flags & ADDRESS_VIP)
		return to_vip(skb, packet, address, hook);
	if (!(address->flags & ADDRESS_BACKEND))
		return VERDICT_NEXT;
	verdict = is_from_vip ? from_own_vip(skb, packet, hook) : VERDICT_NEXT;
	if (verdict == VERDICT_NEXT)
		(void)to_backend(skb, packet, address, hook);
	return verdict;
}

/*
 * Disposes of a packet that a step gave up, by its reason: sends an answer if the sender waits for
 * one, otherwise drops the packet. Either is counted here and nowhere else.
 */
static __noinline enum verdict give_up(struct __sk_buff *skb, const struct packet *packet,
				       const struct hook *hook, enum counter_reason reason)
{
	switch (reason) {
	case COUNTER_REJECT_NO_BACKEND:
	case COUNTER_REJECT_NO_PORT:
	case COUNTER_REJECT_NO_FLOW:
	case COUNTER_REJECT_DEAD_BACKEND:
	case COUNTER_REJECT_PROTOCOL:
		return reject(skb, packet, hook, reason);
	case COUNTER_TIME_EXCEEDED:
	case COUNTER_TOO_BIG:
	case COUNTER_DROP_NO_ROUTE:
	case COUNTER_UNREACHABLE:
	case COUNTER_PROHIBITED:
	case COUNTER_NO_NEIGHBOUR:
		return transit_answer(skb, packet, hook, reason);
	default:
		counter_add(reason, hook->size);
		return VERDICT_DROPPED;
	}
}

/*
 * Does the deferred work on the packet's flow. A global function, which the verifier checks once,
 * whatever path led here; such functions take no pointers before Linux 5.12, so this one looks up
 * the scratch itself.
 */
__noinline int run_deferred(struct __sk_buff *skb)
{
	struct scratch *scratch = scratch_get();

	return scratch ? flow_run_deferred(skb, scratch) : 0;
}

/* Reads the packet, lets the hook decide, and translates the decision into a TC action. */
static __always_inline int run(struct __sk_buff *skb, struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	const struct flow *flow;
	struct packet *packet;
	__be16 protocol;
	__u32 offset = 0;
	enum verdict verdict;

	if (!scratch || scratch->dsr.is_sending)
		return TC_ACT_UNSPEC;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	hook->ifindex = skb->ifindex;
	hook->size = skb->len;
	protocol = packet_network(skb, hook->link_header_size, &offset);
	if (!packet_read_network(skb, protocol, offset, packet))
		return TC_ACT_UNSPEC;
	scratch->due = FLOW_DUE_NOTHING;
	flow = &scratch->pair.original;
	verdict = hook->is_egress ? egress(skb, packet, hook) : ingress(skb, packet, hook);
	if (verdict == VERDICT_TRANSLATE_ERROR) {
		verdict = icmp_error(skb, packet, scratch, hook);
		flow = &scratch->icmp.flow;
	}
	if (verdict == VERDICT_ENCAPSULATE)
		verdict = encapsulate(skb, packet, flow, hook);
	if (scratch->due)
		(void)run_deferred(skb);
	if (verdict_is_given_up(verdict))
		verdict = give_up(skb, packet, hook, verdict_reason(verdict));
	if (verdict == VERDICT_DROPPED)
		return TC_ACT_SHOT;
	return verdict == VERDICT_SENT ? TC_ACT_REDIRECT : TC_ACT_UNSPEC;
}

SEC("tc")
int fl_ingress(struct __sk_buff *skb)
{
	struct hook hook = {.link_header_size = ETH_HLEN};

	return run(skb, &hook);
}

SEC("tc")
int fl_egress(struct __sk_buff *skb)
{
	struct hook hook = {.is_egress = true, .link_header_size = ETH_HLEN};

	return run(skb, &hook);
}

/* The same for links without a link-layer header: tun, wireguard, ipip. */
SEC("tc")
int fl_ingress_l3(struct __sk_buff *skb)
{
	struct hook hook = {.link_header_size = 0};

	return run(skb, &hook);
}

SEC("tc")
int fl_egress_l3(struct __sk_buff *skb)
{
	struct hook hook = {.is_egress = true, .link_header_size = 0};

	return run(skb, &hook);
}
