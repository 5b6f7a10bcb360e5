/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The TC hooks, which see routed packets on every managed link. Ingress corresponds to netfilter's
 * PREROUTING, egress to POSTROUTING; between the two the kernel routes.
 *
 * ingress   Look up the destination in `addresses`.
 *           Unknown: leave the packet alone; most packets end here. The same goes for packets that
 *           the stack would not accept.
 *           A VIP: the packet belongs to a flow, opens one, is an echo request to answer, or is
 *           refused.
 *           An address of this node: it may be the reply to a process of the node.
 *           A backend: its client talks to it directly; remove a flow that would interfere. Or
 *           another node has encapsulated a client's packet for it: unwrap the packet, which
 *           belongs to a flow.
 * egress    Look up the source in `addresses`.
 *           A backend that has flows: this may be a reply, and gets the frontend as its source.
 *           An address of this node, on a packet that did not arrive by a link: the node itself
 *           sends it. To a VIP: as at ingress.
 * both      ICMP errors: the quoted packet decides.
 *
 * Verdicts: VERDICT_NEXT (the next program on this hook, whether translated or not), VERDICT_DROP
 * (counted where it is decided), TC_ACT_REDIRECT (answers, hairpin, packets of the node itself).
 */

#include "flow/direct.h"
#include "dsr/confirmation.h"
#include "dsr/error.h"
#include "dsr/receive.h"
#include "dsr/flow_state.h"
#include "dsr/encapsulation.h"
#include "packet/extension.h"
#include "flow/create.h"
#include "flow/original.h"
#include "send/forward.h"
#include "packet/fragment.h"
#include "send/icmp.h"
#include "nat/nat.h"
#include "service/node_ports_used.h"
#include "flow/own_ports.h"
#include "packet/mark.h"
#include "flow/own_vip.h"
#include "packet/packet.h"
#include "send/reject.h"
#include "service/service.h"
#include "packet/taken.h"
#include "send/transit.h"
#include "service/service_cidr.h"

/* A step leaves the decision to a later one. */
#define VERDICT_ASK_VIP (-COUNTER_COUNT)
/* The packet must be encapsulated and sent to the backend of draft->original. */
#define VERDICT_ENCAPSULATE 257
/* The packet is an ICMP error about the flow in draft->original. */
#define VERDICT_TRANSLATE_ERROR 258

char _license[] SEC("license") = "Dual BSD/GPL";

/* Reads the ports, those of later fragments too. Returns 0 or -COUNTER_DROP_... */
static __always_inline int read_ports(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->family == FAMILY_IPV6 && !packet_skip_extensions(skb, packet))
		return -COUNTER_DROP_MALFORMED;
	if (packet->fragment != FRAGMENT_LATER && !packet_read_transport(skb, packet))
		return -COUNTER_DROP_MALFORMED;
	if (packet->fragment == FRAGMENT_NONE || packet_is_icmp(packet))
		return 0;
	return fragment_ports(packet) ? 0 : -COUNTER_DROP_FRAGMENT;
}

/* Out-of-line copy for the cold callers: saves stack at the price of a call. */
static __noinline int read_ports_apart(struct __sk_buff *skb, struct packet *packet)
{
	return read_ports(skb, packet);
}

/* Sends a packet of a flow with source NAT, in either direction, rewritten by draft->rewrite. */
static __always_inline int transit(struct __sk_buff *skb, const struct packet *packet,
				   struct flow_draft *draft, enum flow_direction direction,
				   const struct hook *hook)
{
	int err;

	draft->route.overhead = 0;
	draft->route.is_answer = direction == FLOW_REPLY;
	err = transit_route(skb, packet, hook, &draft->rewrite, &draft->route);
	if (!err)
		err = nat_rewrite(skb, packet, &draft->rewrite);
	return err ? err : transit_send(skb, packet, &draft->route, hook);
}

/*
 * Sends a packet of a process of this node by the route to its backend. That route may differ from
 * the one that the kernel has chosen, and its MTU may be smaller.
 */
static __always_inline int reroute(struct __sk_buff *skb, const struct packet *packet,
				   struct flow_draft *draft, const struct hook *hook)
{
	int err;

	draft->route.overhead = 0;
	draft->route.is_answer = false;
	err = route_find(skb, packet, hook, &draft->rewrite, &draft->route);
	if (!err)
		err = route_check(skb, packet, &draft->route);
	if (!err)
		err = nat_rewrite(skb, packet, &draft->rewrite);
	if (err)
		return err;
	if (!hook->link_header_size && draft->route.next.ifindex == hook->ifindex)
		return VERDICT_DONE;
	return route_send(skb, &draft->route, hook);
}

/*
 * Rewrites a packet and sends it on in its flow's `direction`. Returns a verdict or -enum
 * counter_reason.
 */
static __noinline int flow_forward(struct __sk_buff *skb, const struct packet *packet,
				   const struct flow *flow, enum flow_direction direction,
				   const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	__u8 flags;
	int err;

	if (!draft)
		return -COUNTER_DROP_REWRITE;
	flags = flow->flags;
	if (direction == FLOW_REPLY || flags & FLOW_FROM_NODE)
		packet_mark_translated(skb);
	if (config.count_packets)
		stats_count_packet(flow->service, hook->size);
	rewrite_from_flow(flow, &draft->rewrite);
	if (flags & FLOW_SOURCE_NAT)
		return transit(skb, packet, draft, direction, hook);
	if (hook->is_egress && direction == FLOW_ORIGINAL && !(flags & FLOW_HAIRPIN))
		return reroute(skb, packet, draft, hook);
	if (flags & FLOW_HAIRPIN && !(flags & FLOW_LOCAL_CLIENT)) {
		err = nat_decrement_ttl(skb, packet);
		if (err)
			return err;
	}
	err = nat_rewrite(skb, packet, &draft->rewrite);
	if (err)
		return err;
	if (flags & FLOW_LOCAL_CLIENT && direction == FLOW_REPLY)
		return forward_to_local_client(skb, flow, hook);
	return flags & FLOW_HAIRPIN ? forward_back(skb, hook) : VERDICT_DONE;
}

/* Sends a client's packet to its backend, or has it encapsulated (direct server return). */
static __always_inline int original_send(struct __sk_buff *skb, const struct packet *packet,
					 const struct flow *flow, const struct hook *hook)
{
	if (!(flow->flags & FLOW_DSR))
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	if (config.count_packets)
		stats_count_packet(flow->service, hook->size);
	return VERDICT_ENCAPSULATE;
}

/*
 * The client is a process of this node: records how to reach it, by the link that its packets leave
 * by. If the backend is on this node as well, it would drop packets from any address of the node as
 * martians: as with a hairpin, the VIP replaces the client's address.
 */
static __always_inline void flow_mark_local_client(struct __sk_buff *skb, const struct hook *hook,
						   struct flow_draft *draft)
{
	const struct address_info *backend = address_lookup(&draft->original.new_dst);
	struct flow *flow = &draft->original;

	flow->flags |= FLOW_LOCAL_CLIENT;
	flow->ifindex = hook->ifindex;
	if (hook->link_header_size)
		(void)bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_source), flow->mac,
					 sizeof(flow->mac));
	if (backend && backend->flags & ADDRESS_NODE) {
		flow->flags |= FLOW_HAIRPIN;
		flow->new_src = draft->original_key.dst;
	}
}

/*
 * Creates the flow from the frontend, in draft->original_key, to draft->choice; afterwards all of
 * the flow is in the draft. Returns 0 or -enum counter_reason.
 */
static __noinline int flow_create(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct flow_draft *draft)
{
	int err;

	flow_draft_fill(packet, hook, draft);
	err = flow_choose_source(skb, packet, hook, draft);
	if (err)
		return err;
	if (hook->is_egress)
		flow_mark_local_client(skb, hook, draft);
	return flow_open(skb, hook, draft);
}

/* Decides on a packet to a port on which the address has no frontend. */
static __always_inline int to_unknown_port(const struct packet *packet,
					   const struct address_info *address)
{
	if (address->flags & ADDRESS_CLUSTER_IP)
		return -COUNTER_REJECT_NO_PORT;
	return (address->flags & ~ADDRESS_BACKEND) == ADDRESS_RETIRED
		       ? service_cidr_verdict(&packet->dst)
		       : VERDICT_NEXT;
}

/* Handles a packet to a VIP that has no usable flow: the packet opens one, or is refused. */
static __noinline int original_open(struct __sk_buff *skb, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook,
				    struct flow_draft *draft)
{
	const struct frontend_target *target;
	int err;

	target = frontend_lookup(&packet->dst, packet->dst_port, packet->proto);
	if (!target)
		return to_unknown_port(packet, address);
	if (address->flags & ADDRESS_NODE && is_own_reply(skb, packet, draft))
		return VERDICT_NEXT;
	err = flow_decide(packet, hook, target, draft);
	if (err)
		return err;
	err = flow_create(skb, packet, hook, draft);
	if (err)
		return err;
	if (address->flags & ADDRESS_NODE)
		node_port_mark(packet->dst_port);
	return original_send(skb, packet, &draft->original, hook);
}

/* Handles a packet from a backend: sends it to the client if it belongs to a flow. */
static __always_inline int reply(struct __sk_buff *skb, const struct packet *packet,
				 const struct hook *hook)
{
	const struct flow *flow = reply_flow();

	return flow ? flow_forward(skb, packet, flow, FLOW_REPLY, hook) : VERDICT_NEXT;
}

/*
 * Handles ICMP to a VIP: errors from the client's side (or a hairpin's backend), and echo requests.
 */
static __noinline int vip_icmp(struct __sk_buff *skb, const struct packet *packet,
			       const struct address_info *address, const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	int err;

	if (packet->fragment == FRAGMENT_LATER ||
	    icmp_type_is_echo(packet->family, packet->icmp_type)) {
		if (!(address->flags & ADDRESS_CLUSTER_IP))
			return VERDICT_NEXT;
		err = icmp_answer_echo(skb, packet);
		if (err)
			return err;
		counter_add(COUNTER_ECHO_ANSWERED, hook->size);
		return forward_back(skb, hook);
	}
	if (!icmp_type_is_error(packet->family, packet->icmp_type) || !draft ||
	    !icmp_read_quote(skb, packet, &draft->quote))
		return address->flags & ADDRESS_CLUSTER_IP ? -COUNTER_DROP_ICMP : VERDICT_NEXT;
	if (icmp_find_flow(&draft->quote, FLOW_ORIGINAL) ||
	    icmp_find_flow(&draft->quote, FLOW_REPLY))
		return VERDICT_TRANSLATE_ERROR;
	return address->flags & ADDRESS_CLUSTER_IP ? -COUNTER_DROP_ICMP : VERDICT_NEXT;
}

/*
 * Handles a packet to a VIP that may be a backend's answer to a client whose address the VIP
 * replaced. Returns a verdict, -enum counter_reason, or VERDICT_ASK_VIP if the packet is no such
 * answer.
 */
static __noinline int hairpin_reply(struct __sk_buff *skb, const struct packet *packet,
				    const struct hook *hook)
{
	const struct address_info *source = address_lookup(&packet->src);
	const struct flow *flow;

	if (!source || !(source->flags & ADDRESS_BACKEND))
		return VERDICT_ASK_VIP;
	flow = reply_flow();
	return flow ? flow_forward(skb, packet, flow, FLOW_REPLY, hook) : VERDICT_ASK_VIP;
}

/*
 * Handles a packet to a VIP. If it has a flow, it follows that flow, gets another backend, or is
 * refused. If it has none, it may be the reply of a hairpin's backend, which sees the VIP as its
 * client; otherwise it opens a flow.
 */
static __always_inline int original(struct __sk_buff *skb, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	bool is_confirmed, is_forgotten;
	struct flow *entry, *flow;
	enum flow_use use;
	int verdict;

	if (!draft)
		return -COUNTER_DROP_NEW_FLOWS;
	flow = &draft->original;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	entry = original_entry(draft, packet, &is_confirmed);
	if (!entry) {
		verdict = hairpin_reply(skb, packet, hook);
		return verdict == VERDICT_ASK_VIP ? original_open(skb, packet, address, hook, draft)
						  : verdict;
	}
	use = flow_use_of(packet, flow, entry, address);
	if (use == FLOW_GO_ON && flow->flags & FLOW_DSR) {
		(void)dsr_use(draft, entry, packet, is_confirmed);
		return original_send(skb, packet, flow, hook);
	}
	if (use == FLOW_GO_ON) {
		(void)flow_go_on(draft, entry, packet, is_confirmed);
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	}
	is_forgotten = flow_forget(FLOW_ORIGINAL, flow->state == FLOW_CLOSED ? FLOW_LEAVES_REPLY
									     : FLOW_LEAVES_NOTHING);
	if (use == FLOW_REFUSE)
		return -COUNTER_REJECT_DEAD_BACKEND;
	if (!is_forgotten)
		return -COUNTER_DROP_FLOW_BUSY;
	if (use == FLOW_MOVE)
		counter_add(COUNTER_RESELECTED, hook->size);
	return original_open(skb, packet, address, hook, draft);
}

/* Handles every packet whose destination is a VIP. */
static __always_inline int to_vip(struct __sk_buff *skb, struct packet *packet,
				  const struct address_info *address, const struct hook *hook)
{
	bool is_ours = address->flags & ADDRESS_CLUSTER_IP;
	int err;

	err = read_ports(skb, packet);
	if (err)
		return is_ours ? err : VERDICT_NEXT;
	if (packet_is_icmp(packet))
		return vip_icmp(skb, packet, address, hook);
	if (proto_has_ports(packet->proto))
		return original(skb, packet, address, hook);
	return is_ours ? -COUNTER_REJECT_PROTOCOL : VERDICT_NEXT;
}

/*
 * Handles an ICMP error about a packet to a backend: if the packet belongs to a flow, the error is
 * translated for the client, which knows only the frontend. Any router on the path may send such an
 * error.
 */
static __noinline int error_about_flow(struct __sk_buff *skb, const struct packet *packet,
				       const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	const struct address_info *backend;
	const struct flow *flow;

	if (!draft || !icmp_read_quote(skb, packet, &draft->quote))
		return VERDICT_NEXT;
	backend = address_lookup(&draft->quote.dst);
	if (!backend || !(backend->flags & ADDRESS_BACKEND) ||
	    !address_may_have_flows(backend, now_seconds()))
		return VERDICT_NEXT;
	flow = icmp_find_flow(&draft->quote, FLOW_REPLY);
	return flow ? VERDICT_TRANSLATE_ERROR : VERDICT_NEXT;
}

/*
 * True if a packet to a backend belongs to the flow in draft->reply and has just been translated on
 * a lower link (a bridge's port), rather than being sent directly by the client.
 */
static __noinline bool is_translated(const struct hook *hook, const struct packet *packet,
				     struct flow_draft *draft)
{
	__u32 sent = packet->sequence + packet_sequence_length(packet);
	const struct flow *reply = &draft->reply;
	const struct flow_renewal *renewal;

	if (!proto_has_handshake(packet->proto))
		return now_seconds() - reply->last_use_s <= 1 &&
		       (reply->flags & FLOW_LOCAL_CLIENT || reply->ifindex != hook->ifindex);
	if (packet->proto == IPPROTO_SCTP)
		sent = (__u32)packet->sctp_initiate_tag;
	if (sent == (packet->proto == IPPROTO_SCTP ? (__u32)reply->tag : reply->acked))
		return true;
	renewal = renewal_find(&draft->reply_key, reply);
	return renewal && renewal->sent == sent;
}

/*
 * A client opens a direct conversation with a backend from a port on which it has a flow to that
 * backend: the backend's answers would be taken for the flow's. So the direct conversation gets
 * another source port, as in netfilter. Returns 0 or -enum counter_reason.
 */
static __noinline int direct_open(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct flow_draft *draft)
{
	const struct address_info *source = address_lookup(&packet->src);
	struct flow *flow = &draft->original;

	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->new_src = packet->src;
	flow->new_dst = packet->dst;
	flow->new_src_port = packet->src_port;
	flow->new_dst_port = packet->dst_port;
	flow->last_use_s = now_seconds();
	flow->ifindex = hook->ifindex;
	flow->flags = FLOW_DIRECT;
	flow_begin(packet, flow);
	draft->is_from_node = source && source->flags & ADDRESS_NODE;
	address_expect_direct_flows(&packet->dst,
				    flow->last_use_s + flow_timeout_s(packet->proto, FLOW_NEW));
	return flow_enter(skb, draft, false);
}

/*
 * Looks up the direct conversation of a client with a backend that was given another port; NULL if
 * there is none.
 */
static __always_inline struct flow *direct_flow(const struct packet *packet,
						const struct address_info *address,
						struct flow_draft *draft, bool *ret_is_confirmed)
{
	struct flow *entry;

	if (!address_may_have_direct_flows(address, now_seconds()))
		return NULL;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	entry = flow_look(&draft->original_key, &draft->original, ret_is_confirmed);
	if (!entry || !(draft->original.flags & FLOW_DIRECT) ||
	    flow_is_expired(&draft->original, packet->proto, now_seconds()))
		return NULL;
	if (proto_has_handshake(packet->proto) && packet_opens(packet) &&
	    draft->original.state == FLOW_CLOSED && flow_forget(FLOW_ORIGINAL, FLOW_LEAVES_REPLY))
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
					 const struct hook *hook, struct flow_draft *draft)
{
	__u32 now_s = now_seconds();
	bool is_confirmed;

	packet_flow_key_back(packet, FLOW_REPLY, &draft->reply_key);
	if (!has_flows || !flow_look(&draft->reply_key, &draft->reply, &is_confirmed)) {
		direct_note(address, &draft->reply_key, now_s);
		return false;
	}
	if (is_translated(hook, packet, draft))
		return false;
	if ((draft->reply.state == FLOW_CLOSED ||
	     flow_is_expired(&draft->reply, packet->proto, now_s)) &&
	    flow_forget(FLOW_REPLY, FLOW_LEAVES_NOTHING)) {
		counter_add(COUNTER_FORGOTTEN, hook->size);
		direct_note(address, &draft->reply_key, now_s);
		return false;
	}
	if (direct_open(skb, packet, hook, draft))
		return false;
	counter_add(COUNTER_DIRECT_TRANSLATED, hook->size);
	return true;
}

/*
 * Handles a packet to a backend's own address, from a client that may also have flows to it.
 * Returns true if the packet was translated.
 */
static __noinline bool to_backend(struct __sk_buff *skb, struct packet *packet,
				  const struct address_info *address, const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	bool has_flows, is_confirmed;
	struct flow *entry;

	if (!draft || (!proto_has_ports(packet->proto) && !proto_is_extension(packet->proto)))
		return false;
	has_flows = address_may_have_flows(address, now_seconds());
	if (!has_flows && proto_has_handshake(packet->proto))
		return false;
	if (read_ports_apart(skb, packet) || packet->fragment == FRAGMENT_LATER ||
	    !proto_has_ports(packet->proto))
		return false;
	entry = has_flows ? direct_flow(packet, address, draft, &is_confirmed) : NULL;
	if (entry)
		(void)flow_go_on(draft, entry, packet, is_confirmed);
	else if (!packet_opens(packet) ||
		 !direct_begin(skb, packet, address, has_flows, hook, draft))
		return false;
	rewrite_from_flow(&draft->original, &draft->rewrite);
	return !nat_rewrite(skb, packet, &draft->rewrite);
}

/* Handles a packet from a backend: the reply of a flow if the backend has flows. */
static __always_inline int from_backend(struct __sk_buff *skb, struct packet *packet,
					const struct address_info *address, const struct hook *hook)
{
	if (!address_may_have_flows(address, now_seconds()))
		return VERDICT_NEXT;
	if (read_ports(skb, packet))
		return VERDICT_NEXT;
	if (!proto_has_ports(packet->proto))
		return VERDICT_NEXT;
	return reply(skb, packet, hook);
}

/*
 * Handles a packet for an address of this node: the reply to one of its processes or to a client
 * whose address the node's replaced; or a packet for a NodePort; or, most often, none of these. The
 * small tables are consulted first, so that only packets that may belong to a flow cost a lookup in
 * the flow tables, and only one. Returns a verdict, -enum counter_reason, or VERDICT_ASK_VIP if the
 * packet is for a frontend of the address or is an ICMP error.
 */
static __noinline int to_node(struct __sk_buff *skb, struct packet *packet,
			      const struct address_info *address, const struct hook *hook)
{
	const struct address_info *source;
	const struct flow *flow;
	bool may_be_reply;

	if (packet_is_icmp(packet)) {
		if (packet->fragment == FRAGMENT_LATER || !packet_read_transport(skb, packet) ||
		    !icmp_type_is_error(packet->family, packet->icmp_type))
			return VERDICT_NEXT;
		return VERDICT_ASK_VIP;
	}
	source = address_lookup(&packet->src);
	may_be_reply = source && source->flags & ADDRESS_BACKEND &&
		       address_may_have_flows(source, now_seconds());
	if (!may_be_reply && !(address->flags & ADDRESS_VIP))
		return VERDICT_NEXT;
	if (read_ports_apart(skb, packet))
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
 * Handles a packet that leaves from an address of the node with frontends: the node's own, or one
 * that the node masquerades, unless it belongs to a flow. Records a datagram from a NodePort.
 */
static __always_inline void from_node_port(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->proto != IPPROTO_UDP && !proto_is_extension(packet->proto))
		return;
	if (packet_is_translated(skb) || read_ports_apart(skb, packet))
		return;
	if (packet->proto == IPPROTO_UDP && node_port_is_marked(packet->src_port))
		(void)own_reply_expect(packet);
}

/*
 * Handles a packet to a backend from a process that is bound to a VIP. Returns a verdict, -enum
 * counter_reason, or VERDICT_NEXT if the packet keeps its source.
 */
static __noinline int from_own_vip(struct __sk_buff *skb, struct packet *packet,
				   const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	struct flow *entry, *flow;
	bool is_confirmed;
	int err;

	if (!draft || packet_is_translated(skb) || !vip_needs_node_address(packet, hook) ||
	    read_ports_apart(skb, packet) || !proto_has_ports(packet->proto))
		return VERDICT_NEXT;
	flow = &draft->original;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	entry = original_entry(draft, packet, &is_confirmed);
	if (entry && own_vip_goes_on(packet, flow)) {
		(void)flow_go_on(draft, entry, packet, is_confirmed);
		return flow_forward(skb, packet, flow, FLOW_ORIGINAL, hook);
	}
	if (!packet_opens(packet) || !own_vip_choice(skb, packet, draft))
		return VERDICT_NEXT;
	if (entry && !flow_forget(FLOW_ORIGINAL, FLOW_LEAVES_NOTHING))
		return -COUNTER_DROP_FLOW_BUSY;
	err = flow_create(skb, packet, hook, draft);
	return err ? err : flow_forward(skb, packet, &draft->original, FLOW_ORIGINAL, hook);
}

/*
 * Translates an ICMP error about a packet from a backend of this node, using the addresses that the
 * backend knows.
 */
static __noinline int receive_icmp(struct __sk_buff *skb, const struct packet *packet,
				   const struct hook *hook, struct flow_draft *draft)
{
	const struct flow *flow;
	int err;

	if (!icmp_read_quote(skb, packet, &draft->quote))
		return -COUNTER_DROP_ICMP;
	flow = icmp_find_flow(&draft->quote, FLOW_ORIGINAL);
	if (!flow || !(flow->flags & FLOW_DSR_RECEIVED))
		return -COUNTER_DROP_ICMP;
	if (flow->ifindex != hook->ifindex && !link_leads_to_sender(skb, hook, draft))
		return -COUNTER_DROP_NOT_A_NODE;
	icmp_outer(packet, &draft->quote, flow, &draft->rewrite);
	err = icmp_rewrite(skb, packet, &draft->quote, flow, &draft->rewrite);
	if (!err)
		counter_add(COUNTER_ICMP_TRANSLATED, hook->size);
	return err;
}

/*
 * Handles the packet of this CPU's draft, which another node may have encapsulated for a backend of
 * this one. A global function, like settle().
 */
__noinline int receive(struct __sk_buff *skb, __u32 link_header_size)
{
	struct hook hook = {.link_header_size = link_header_size};
	struct flow_draft *draft = flow_draft_get();
	const struct address_info *address;
	struct packet *packet;
	int err;

	if (!draft)
		return VERDICT_NEXT;
	packet = &draft->packet;
	hook.ifindex = skb->ifindex;
	hook.size = skb->len;
	address = address_lookup(&packet->dst);
	if (!address)
		return VERDICT_NEXT;
	err = dsr_unwrap(skb, packet, address, &hook, draft);
	if (err != VERDICT_UNWRAPPED)
		return err;
	if (packet_is_icmp(packet))
		return receive_icmp(skb, packet, &hook, draft);
	draft->must_confirm = false;
	err = dsr_flow(skb, packet, &hook, draft);
	if (err == FLOW_IS_NEW)
		err = flow_open(skb, &hook, draft);
	if (!err && draft->must_confirm)
		err = confirmation_send(skb, packet, &hook, draft);
	if (err)
		return err;
	rewrite_from_flow(&draft->original, &draft->rewrite);
	return nat_rewrite(skb, packet, &draft->rewrite);
}

/*
 * Handles a packet to an address that no Service has: drops it only if this node would have
 * forwarded it.
 */
static __always_inline int ingress_to_nobody(struct __sk_buff *skb, struct packet *packet,
					     const struct hook *hook)
{
	int verdict = service_cidr_verdict(&packet->dst);

	return verdict && packet_is_taken(skb, packet, hook) && !(packet->flags & PACKET_FOR_BRIDGE)
		       ? verdict
		       : VERDICT_NEXT;
}

static __always_inline int ingress(struct __sk_buff *skb, struct packet *packet,
				   const struct hook *hook)
{
	const struct address_info *address = address_lookup(&packet->dst);
	int verdict;

	if (!address)
		return ingress_to_nobody(skb, packet, hook);
	if (!packet_is_taken(skb, packet, hook)) {
		counter_add(COUNTER_SKIPPED, hook->size);
		return VERDICT_NEXT;
	}
	if (address->flags & ADDRESS_NODE && packet_is_encapsulated(packet)) {
		verdict = confirmation_take(skb, packet, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	if (address->flags & ADDRESS_BACKEND && packet_is_encapsulated(packet))
		return receive(skb, hook->link_header_size);
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

static __always_inline int egress(struct __sk_buff *skb, struct packet *packet,
				  const struct hook *hook)
{
	const struct address_info *address;
	bool is_from_vip;
	int verdict;

	if (packet_is_icmp(packet) && packet->fragment != FRAGMENT_LATER &&
	    packet_read_transport(skb, packet) &&
	    icmp_type_is_error(packet->family, packet->icmp_type)) {
		verdict = error_about_flow(skb, packet, hook);
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
		from_node_port(skb, packet);
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
 * Translates an ICMP error about a packet of the flow in draft->original, where icmp_find_flow()
 * has put it, and sends the error to the sender of the quoted packet, using the addresses that the
 * sender knows.
 */
static __noinline int icmp_error(struct __sk_buff *skb, const struct packet *packet,
				 struct flow_draft *draft, const struct hook *hook)
{
	enum flow_direction direction = draft->peer_key.direction;
	const struct flow *flow = &draft->original;
	const struct packet *quote = &draft->quote;
	bool is_from_backend = address_equal(&packet->src, &quote->dst);
	bool is_routed = flow->flags & FLOW_SOURCE_NAT;
	int err;

	if (flow->flags & FLOW_DSR) /* its backend's node knows both sides of it */
		return encapsulate(skb, packet, flow, hook);
	icmp_outer(packet, quote, flow, &draft->rewrite);
	if (is_routed) {
		draft->route.overhead = 0;
		draft->route.is_answer = true;
		err = transit_route(skb, packet, hook, &draft->rewrite, &draft->route);
		if (err)
			return err;
	}
	err = icmp_rewrite(skb, packet, quote, flow, &draft->rewrite);
	if (err)
		return err;
	counter_add(COUNTER_ICMP_TRANSLATED, hook->size);
	if (is_routed)
		return transit_send(skb, packet, &draft->route, hook);
	if (flow->flags & FLOW_LOCAL_CLIENT)
		return direction == FLOW_REPLY && is_from_backend
			       ? forward_to_local_client(skb, flow, hook)
			       : VERDICT_DONE;
	return flow->flags & FLOW_HAIRPIN ? forward_back(skb, hook) : VERDICT_DONE;
}

/*
 * Disposes of a packet that a step gave up, by its reason: sends an answer if the sender waits for
 * one, otherwise drops the packet. Either is counted here and nowhere else.
 */
static __noinline int give_up(struct __sk_buff *skb, const struct packet *packet,
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
		return VERDICT_DROP;
	}
}

/*
 * Does the deferred work on the packet's flow. A global function, which the verifier checks once,
 * whatever path led here; such functions take no pointers before Linux 5.12, so this one looks up
 * the draft itself.
 */
__noinline int settle(struct __sk_buff *skb)
{
	struct flow_draft *draft = flow_draft_get();

	return draft ? flow_settle(skb, draft) : 0;
}

/* Reads the packet, lets the hook decide, and translates the decision into a TC action. */
static __always_inline int run(struct __sk_buff *skb, struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	struct packet *packet;
	__be16 protocol;
	__u32 offset = 0;
	int verdict;

	if (!draft || draft->is_sending)
		return TC_ACT_UNSPEC;
	packet = &draft->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	hook->ifindex = skb->ifindex;
	hook->size = skb->len;
	protocol = packet_network(skb, hook->link_header_size, &offset);
	if (!packet_read_network(skb, protocol, offset, packet))
		return TC_ACT_UNSPEC;
	draft->due = FLOW_DUE_NOTHING;
	verdict = hook->is_egress ? egress(skb, packet, hook) : ingress(skb, packet, hook);
	if (verdict == VERDICT_TRANSLATE_ERROR)
		verdict = icmp_error(skb, packet, draft, hook);
	if (verdict == VERDICT_ENCAPSULATE)
		verdict = encapsulate(skb, packet, &draft->original, hook);
	if (draft->due)
		(void)settle(skb);
	if (verdict < 0)
		verdict = give_up(skb, packet, hook, -verdict);
	return verdict == VERDICT_NEXT || verdict == VERDICT_DONE ? TC_ACT_UNSPEC : verdict;
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
