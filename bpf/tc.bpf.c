/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The TC hooks: what routed packets meet on every managed link. Ingress is to us what PREROUTING is
 * to netfilter, egress what POSTROUTING is; between the two the kernel routes.
 *
 * ingress   Ask the small table what the destination is.
 *           Nothing to us: go on; most packets end here.
 *           A VIP: the packet belongs to a flow, opens one, is an echo request to answer, or is
 *           refused.
 *           An address of this node: it may be the reply to a process of the node.
 *           A backend: its client talks to it directly; forget what would disturb that.
 * egress    Ask the small table what the source is.
 *           A backend that has flows: this may be a reply, and gets back its frontend as source.
 *           A packet of this node itself to a VIP: as at ingress.
 * both      ICMP errors: what they quote decides.
 *
 * Verdicts: VERDICT_NEXT (whoever comes next on this hook; translated or not), VERDICT_DROP
 * (counted where it is decided), TC_ACT_REDIRECT (answers, hairpin, packets of the node itself).
 */

#include "flow.h"
#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "nat.h"
#include "packet.h"
#include "reject.h"
#include "service.h"
#include "transit.h"

/* An address that has frontends; one that has none any more is ADDRESS_RETIRED. */
#define ADDRESS_SERVED (ADDRESS_CLUSTER_IP | ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS)
#define ADDRESS_VIP    (ADDRESS_SERVED | ADDRESS_RETIRED)

/* Of a step that leaves the decision to another one. */
#define VERDICT_ASK_VIP (-COUNTER_COUNT)

char _license[] SEC("license") = "Dual BSD/GPL";

/* Reads ports, of fragments too. Returns 0 or -COUNTER_DROP_... */
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

/* The same for who is rarely asked: it takes less of the stack, and longer. */
static __noinline int read_ports_apart(struct __sk_buff *skb, struct packet *packet)
{
	return read_ports(skb, packet);
}

/* Sends a packet of a flow with source NAT on, in either direction. */
static __always_inline int transit(struct __sk_buff *skb, const struct packet *packet,
				   const struct rewrite *rewrite, const struct hook *hook)
{
	struct route route = {};
	int err;

	err = transit_route(skb, packet, rewrite, &route);
	if (!err)
		err = nat_rewrite(skb, packet, rewrite);
	return err ? err : transit_send(skb, packet, &route, hook);
}

/* Sends a rewritten packet on, in the direction its flow goes. */
static __noinline int flow_forward(struct __sk_buff *skb, const struct packet *packet,
				   const struct flow_key *key, const struct flow *flow,
				   const struct hook *hook)
{
	struct rewrite rewrite;
	__u8 flags = flow->flags;
	int err;

	if (config.count_packets)
		stats_count_packet(flow->service, skb->len);
	rewrite_from_flow(flow, &rewrite);
	if (flags & FLOW_SOURCE_NAT)
		return transit(skb, packet, &rewrite, hook);
	if (flags & FLOW_HAIRPIN && !(flags & FLOW_LOCAL_CLIENT)) {
		err = nat_decrement_ttl(skb, packet);
		if (err)
			return err;
	}
	err = nat_rewrite(skb, packet, &rewrite);
	if (err)
		return err;
	if (flags & FLOW_LOCAL_CLIENT && key->direction == FLOW_REPLY)
		return forward_to_local_client(skb, flow, hook);
	if (flags & FLOW_HAIRPIN)
		return forward_back(skb, hook);
	return hook->is_egress && key->direction == FLOW_ORIGINAL
		       ? forward_route(skb, packet, &rewrite, hook)
		       : VERDICT_NEXT;
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
	__sync_fetch_and_add(&seen->count, 1);
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
 * Claims the reply tuple: with the flow's own source port, or, where that is taken or the node's,
 * with another one.
 */
static __noinline int flow_claim(struct flow_draft *draft)
{
	__u32 ports = config.source_port_max - config.source_port_min + 1;
	bool keep = !draft->is_from_node || port_may_be_kept(draft->original.new_src_port);
	int err = -EEXIST;

	for (int attempt = 0; attempt < PORT_TRIES && err == -EEXIST; attempt++) {
		if (attempt || !keep)
			draft->original.new_src_port =
				bpf_htons(config.source_port_min + bpf_get_prandom_u32() % ports);
		flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
		flow_peer(&draft->original_key, &draft->original, &draft->reply);
		err = flow_claim_reply(&draft->reply_key, &draft->reply);
	}
	if (!err)
		return 0;
	if (err != -EEXIST)
		return -COUNTER_DROP_NEW_FLOWS;
	exhausted_note(draft->choice.service);
	return -COUNTER_DROP_NO_PORT_FREE;
}

/*
 * The client is a process of this node: remembers how to reach it, by the link its packets leave
 * by. If the backend is of this node as well, any address of the node would be a martian there: as
 * with a hairpin, the VIP takes the client's place.
 */
static __always_inline void flow_mark_local_client(struct __sk_buff *skb, const struct hook *hook,
						   struct flow_draft *draft)
{
	const struct address_info *backend = address_lookup(&draft->original.new_dst);
	struct flow *flow = &draft->original;

	flow->flags |= FLOW_LOCAL_CLIENT;
	flow->ifindex = skb->ifindex;
	if (hook->link_header_size)
		(void)bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_source), flow->mac,
					 sizeof(flow->mac));
	if (backend && backend->flags & ADDRESS_NODE) {
		flow->flags |= FLOW_HAIRPIN;
		flow->new_src = draft->original_key.dst;
	}
}

static __always_inline void flow_draft_fill(struct flow_draft *draft)
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
	draft->is_from_node = false;
}

/*
 * Whose name the packet bears at the backend: its client's, unless the reply would then miss this
 * node, or never leave the backend. Returns 0 or -COUNTER_DROP_NO_ROUTE.
 */
static __noinline int flow_choose_source(struct __sk_buff *skb, const struct packet *packet,
					 struct flow_draft *draft)
{
	const struct address_info *frontend, *backend;
	struct flow *flow = &draft->original;
	struct rewrite rewrite = {};
	struct route route;
	int err;

	backend = address_lookup(&flow->new_dst);
	if (!draft->place.returns_here && !(draft->choice.flags & BACKEND_LOCAL) &&
	    !(backend && backend->flags & ADDRESS_NODE)) {
		rewrite.dst = flow->new_dst;
		rewrite.dst_port = flow->new_dst_port;
		err = route_find(skb, packet, &rewrite, &route);
		if (err)
			return err;
		/* A link without addresses borrows those of the link that the packet came by. */
		if (!link_source_of(route.ifindex, packet->family, &flow->new_src) &&
		    !link_source_of(skb->ifindex, packet->family, &flow->new_src))
			return -COUNTER_DROP_NO_ROUTE;
		flow->flags = FLOW_SOURCE_NAT;
		draft->is_from_node = true;
	} else if (address_equal(&draft->original_key.src, &flow->new_dst)) {
		flow->flags = FLOW_HAIRPIN;
		flow->new_src = draft->original_key.dst;
		frontend = address_lookup(&flow->new_src);
		draft->is_from_node = frontend && frontend->flags & ADDRESS_NODE;
	}
	return 0;
}

/*
 * Makes the flow that leads from the frontend, in draft->original_key, to draft->choice; all of it
 * is in the draft afterwards. Returns 0 or -COUNTER_DROP_...
 */
static __noinline int flow_create(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct flow_draft *draft)
{
	__u32 until_s;
	int err;

	flow_draft_fill(draft);
	err = flow_choose_source(skb, packet, draft);
	if (err)
		return err;
	if (hook->is_egress)
		flow_mark_local_client(skb, hook, draft);
	err = flow_claim(draft);
	if (err)
		return err;
	until_s = draft->original.last_use_s + flow_timeout_s(draft->original_key.proto, FLOW_NEW);
	address_expect_flows(&draft->original_key.dst, until_s);
	address_expect_flows(&draft->reply_key.src, until_s);
	if (bpf_map_update_elem(&new_flows, &draft->original_key, &draft->original, BPF_ANY))
		return -COUNTER_DROP_NEW_FLOWS;
	stats_count_connection(draft->choice.service);
	counter_add(COUNTER_FORWARDED_NEW, skb->len);
	return 0;
}

/* Ports of this node's own addresses that ever had a flow. */
static __always_inline struct node_ports *node_ports_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node_ports, &zero);
}

static __always_inline bool node_port_is_marked(__be16 port)
{
	const struct node_ports *ports = node_ports_get();

	return ports && ports->used[bpf_ntohs(port)];
}

static __always_inline void node_port_mark(__be16 port)
{
	struct node_ports *ports = node_ports_get();

	if (ports)
		ports->used[bpf_ntohs(port)] = 1;
}

/*
 * True for addresses of the ranges that ClusterIPs are from (rule C44): asked only about
 * destinations that no Service has.
 */
static __noinline bool is_in_service_ranges(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);
	const struct service_ranges *ranges;
	__u32 zero = 0, count;

	ranges = bpf_map_lookup_elem(&service_ranges, &zero);
	if (!ranges)
		return false;
	count = *(const volatile __u32 *)&ranges->count;
	for (__u32 i = 0; i < SERVICE_RANGES_MAX && i < count; i++) {
		const __u32 *wanted = address_words_const(&ranges->ranges[i].addr);
		const __u32 *mask = address_words_const(&ranges->ranges[i].mask);

		if (!((words[3] & mask[3]) ^ wanted[3]) && !((words[2] & mask[2]) ^ wanted[2]) &&
		    !((words[1] & mask[1]) ^ wanted[1]) && !((words[0] & mask[0]) ^ wanted[0]))
			return true;
	}
	return false;
}

/* What becomes of a new flow to an address that no Service has. */
static __always_inline int to_nobody(const struct ip_addr *addr)
{
	return is_in_service_ranges(addr) ? -COUNTER_DROP_UNUSED_ADDRESS : VERDICT_NEXT;
}

static __always_inline bool is_in_near_ranges(const struct ip_addr *addr)
{
	struct near_range key = {.prefix = 8 * sizeof(key.addr), .addr = *addr};

	return bpf_map_lookup_elem(&near_ranges, &key);
}

/* Where a new flow's client is. */
static __noinline int client_find(struct __sk_buff *skb, const struct packet *packet,
				  const struct hook *hook, struct client_place *ret_place)
{
	const struct address_info *source = address_lookup(&packet->src);
	__u32 ifindex = skb->ifindex;
	const struct link_info *link;

	if (hook->is_egress || (source && source->flags & ADDRESS_NODE)) {
		ret_place->is_near = true;
		ret_place->returns_here = true;
		return 0;
	}
	link = bpf_map_lookup_elem(&links, &ifindex);
	ret_place->returns_here = link && (link->is_near || link->role == LINK_POD);
	ret_place->is_near = config.near_by == NEAR_BY_RANGE ? is_in_near_ranges(&packet->src)
							     : link && link->is_near;
	return 0;
}

/* A packet to a port that the address does not have. */
static __always_inline int to_unknown_port(const struct packet *packet,
					   const struct address_info *address)
{
	if (address->flags & ADDRESS_CLUSTER_IP)
		return -COUNTER_REJECT_NO_PORT;
	return (address->flags & ~ADDRESS_BACKEND) == ADDRESS_RETIRED ? to_nobody(&packet->dst)
								      : VERDICT_NEXT;
}

/* A packet to a VIP that belongs to no flow we may go on with: it opens one, or is refused. */
static __noinline int original_open(struct __sk_buff *skb, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook)
{
	struct client client = {.addr = packet->src, .kind = AFFINITY_ADDRESS};
	struct flow_draft *draft = flow_draft_get();
	const struct frontend_target *target;
	int err;

	if (!draft)
		return -COUNTER_DROP_NEW_FLOWS;
	target = frontend_lookup(&packet->dst, packet->dst_port, packet->proto);
	if (!target)
		return to_unknown_port(packet, address);
	if (!source_is_allowed(&packet->src, target))
		return -COUNTER_DROP_SOURCE_RANGE;
	if (!packet_opens(packet))
		return -COUNTER_REJECT_NO_FLOW;
	draft->target = *target;
	(void)client_find(skb, packet, hook, &draft->place);
	err = service_select(&client, &draft->target, draft->place.is_near, &draft->choice);
	if (err)
		return err;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	err = flow_create(skb, packet, hook, draft);
	if (err)
		return err;
	if (address->flags & ADDRESS_NODE)
		node_port_mark(packet->dst_port);
	return flow_forward(skb, packet, &draft->original_key, &draft->original, hook);
}

enum flow_use {
	FLOW_GO_ON,
	FLOW_ANEW,   /* it is over: this packet opens another one */
	FLOW_MOVE,   /* its backend left: choose another one */
	FLOW_REFUSE, /* its backend is gone, and TCP must learn */
};

/* What an original packet may do with the flow it belongs to. */
static __always_inline enum flow_use flow_use_of(const struct packet *packet, struct flow *flow,
						 const struct address_info *address)
{
	bool opens = proto_has_handshake(packet->proto) && packet_opens(packet) &&
		     packet->fragment != FRAGMENT_LATER;

	if (flow_is_expired(flow, packet->proto, now_seconds()))
		return FLOW_ANEW;
	/*
	 * A SYN again goes where the first went; a SYN on a connection that was made is another
	 * one.
	 */
	if (opens && flow->state >= FLOW_ESTABLISHED)
		return FLOW_ANEW;
	if (!proto_has_handshake(packet->proto) || opens)
		return address->flags & ADDRESS_SERVED &&
				       service_still_has(
					       flow->service,
					       (struct list_for){flow->kind, flow->is_near},
					       flow->backend, flow->generation, &flow->slot)
			       ? FLOW_GO_ON
			       : FLOW_MOVE;
	return backend_is_alive(flow->backend, flow->generation) ? FLOW_GO_ON : FLOW_REFUSE;
}

/*
 * The flow that a packet from its backend belongs to, or NULL: what belongs to no flow is not ours.
 * The first reply confirms the flow, unless it ends it.
 */
static __noinline const struct flow *reply_flow(const struct packet *packet,
						struct flow_key *ret_key)
{
	struct flow_draft *draft = flow_draft_get();
	__u32 now_s = now_seconds();
	struct flow *flow;
	bool is_confirmed;

	packet_flow_key(packet, FLOW_REPLY, ret_key);
	flow = flow_find(ret_key, &is_confirmed);
	if (!flow || flow_is_expired(flow, ret_key->proto, now_s))
		return NULL;
	flow_touch(ret_key, flow, is_confirmed, now_s);
	flow_follow(ret_key, flow, packet, is_confirmed);
	if (is_confirmed || flow->state == FLOW_CLOSED || !draft)
		return flow;
	/* Confirming deletes the new flow, whose memory may then be another's. */
	draft->reply_key = *ret_key;
	draft->reply = *flow;
	(void)flow_confirm(draft);
	return &draft->reply;
}

/* A packet from a backend's side: to the client, if a flow leads there. */
static __always_inline int reply(struct __sk_buff *skb, const struct packet *packet,
				 const struct hook *hook)
{
	struct flow_key key;
	const struct flow *flow = reply_flow(packet, &key);

	return flow ? flow_forward(skb, packet, &key, flow, hook) : VERDICT_NEXT;
}

/* An ICMP error about a packet of a flow goes to whom that packet came from, in his own terms. */
static __always_inline int icmp_error(struct __sk_buff *skb, const struct packet *packet,
				      const struct packet *quote, const struct flow *flow,
				      enum flow_direction direction, const struct hook *hook)
{
	bool is_from_backend = address_equal(&packet->src, &quote->dst);
	bool is_routed = flow->flags & FLOW_SOURCE_NAT;
	struct rewrite outer;
	struct route route;
	int err;

	icmp_outer(packet, quote, flow, &outer);
	if (is_routed) {
		err = transit_route(skb, packet, &outer, &route);
		if (err)
			return err;
	}
	err = icmp_rewrite(skb, packet, quote, flow, &outer);
	if (err)
		return err;
	counter_add(COUNTER_ICMP_TRANSLATED, skb->len);
	if (is_routed)
		return transit_send(skb, packet, &route, hook);
	if (flow->flags & FLOW_LOCAL_CLIENT)
		return direction == FLOW_REPLY && is_from_backend
			       ? forward_to_local_client(skb, flow, hook)
			       : VERDICT_NEXT;
	return flow->flags & FLOW_HAIRPIN ? forward_back(skb, hook) : VERDICT_NEXT;
}

/* ICMP to a VIP: errors from the client's side (or a hairpin's backend), and echo requests. */
static __noinline int vip_icmp(struct __sk_buff *skb, const struct packet *packet,
			       const struct address_info *address, const struct hook *hook)
{
	enum flow_direction direction = FLOW_ORIGINAL;
	struct flow_draft *draft = flow_draft_get();
	struct flow *flow;
	int err;

	if (packet->fragment == FRAGMENT_LATER ||
	    icmp_type_is_echo(packet->family, packet->icmp_type)) {
		if (!(address->flags & ADDRESS_CLUSTER_IP))
			return VERDICT_NEXT;
		err = icmp_answer_echo(skb, packet);
		if (err)
			return err;
		counter_add(COUNTER_ECHO_ANSWERED, skb->len);
		return forward_back(skb, hook);
	}
	if (!icmp_type_is_error(packet->family, packet->icmp_type) || !draft ||
	    !icmp_read_quote(skb, packet, &draft->quote))
		return address->flags & ADDRESS_CLUSTER_IP ? -COUNTER_DROP_ICMP : VERDICT_NEXT;
	flow = icmp_find_flow(&draft->quote, FLOW_ORIGINAL);
	if (!flow) {
		direction = FLOW_REPLY;
		flow = icmp_find_flow(&draft->quote, FLOW_REPLY);
	}
	if (flow)
		return icmp_error(skb, packet, &draft->quote, flow, direction, hook);
	return address->flags & ADDRESS_CLUSTER_IP ? -COUNTER_DROP_ICMP : VERDICT_NEXT;
}

/*
 * A packet to a VIP may be a backend's answer to a client whose place the VIP took. Returns a
 * verdict, -enum counter_reason, or VERDICT_ASK_VIP: it is none.
 */
static __noinline int hairpin_reply(struct __sk_buff *skb, const struct packet *packet,
				    const struct hook *hook)
{
	const struct address_info *source = address_lookup(&packet->src);
	const struct flow *flow;
	struct flow_key key;

	if (!source || !(source->flags & ADDRESS_BACKEND))
		return VERDICT_ASK_VIP;
	flow = reply_flow(packet, &key);
	return flow ? flow_forward(skb, packet, &key, flow, hook) : VERDICT_ASK_VIP;
}

/*
 * A packet to a VIP of a flow: goes on, or chooses anew, or is refused. One of no flow may be the
 * reply of a hairpin's backend, which takes the VIP for its client; else it opens a flow.
 */
static __always_inline int original(struct __sk_buff *skb, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook)
{
	struct flow_key key;
	struct flow *flow;
	bool is_confirmed;
	enum flow_use use;
	int verdict;

	packet_flow_key(packet, FLOW_ORIGINAL, &key);
	flow = flow_find(&key, &is_confirmed);
	if (!flow) {
		verdict = hairpin_reply(skb, packet, hook);
		return verdict == VERDICT_ASK_VIP ? original_open(skb, packet, address, hook)
						  : verdict;
	}
	use = flow_use_of(packet, flow, address);
	if (use == FLOW_GO_ON) {
		flow_touch(&key, flow, is_confirmed, now_seconds());
		flow_follow(&key, flow, packet, is_confirmed);
		return flow_forward(skb, packet, &key, flow, hook);
	}
	(void)flow_forget(&key, flow);
	if (use == FLOW_REFUSE)
		return -COUNTER_REJECT_DEAD_BACKEND;
	if (use == FLOW_MOVE)
		counter_add(COUNTER_RESELECTED, skb->len);
	return original_open(skb, packet, address, hook);
}

/* Everything whose destination is a VIP. */
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
 * An ICMP error about a packet to a backend: if a flow sent it there, its client hears of the
 * frontend. The error may come from anywhere on the way.
 */
static __noinline int error_about_flow(struct __sk_buff *skb, const struct packet *packet,
				       const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	const struct address_info *backend;
	struct flow *flow;

	if (!draft || !icmp_read_quote(skb, packet, &draft->quote))
		return VERDICT_NEXT;
	backend = address_lookup(&draft->quote.dst);
	if (!backend || !(backend->flags & ADDRESS_BACKEND) ||
	    !address_may_have_flows(backend, now_seconds()))
		return VERDICT_NEXT;
	flow = icmp_find_flow(&draft->quote, FLOW_REPLY);
	return flow ? icmp_error(skb, packet, &draft->quote, flow, FLOW_REPLY, hook) : VERDICT_NEXT;
}

/*
 * True if a packet that goes to a backend directly is no packet of the flow, though its reply would
 * look like one. A packet that was translated just now on a lower link (a bridge's port) is.
 */
static __always_inline bool flow_is_stale(const struct packet *packet, const struct flow *flow)
{
	if (proto_has_handshake(packet->proto) && flow->state >= FLOW_ESTABLISHED)
		return true;
	return now_seconds() - flow->last_use_s > 1;
}

/*
 * A packet to a backend's own address. If it opens a conversation, a flow of the same client port
 * and backend is a thing of the past, and would give the reply a source that this client does not
 * know.
 */
static __noinline int to_backend(struct __sk_buff *skb, struct packet *packet,
				 const struct address_info *address)
{
	struct flow_key reply_key;
	bool is_confirmed;
	struct flow *flow;

	if (!proto_has_ports(packet->proto) && !proto_is_extension(packet->proto))
		return VERDICT_NEXT;
	if (!address_may_have_flows(address, now_seconds()))
		return VERDICT_NEXT;
	if (read_ports(skb, packet) || packet->fragment == FRAGMENT_LATER)
		return VERDICT_NEXT;
	if (!proto_has_ports(packet->proto) || !packet_opens(packet))
		return VERDICT_NEXT;
	packet_flow_key_back(packet, FLOW_REPLY, &reply_key);
	flow = flow_find(&reply_key, &is_confirmed);
	if (flow && flow_is_stale(packet, flow)) {
		(void)flow_forget(&reply_key, flow);
		counter_add(COUNTER_FORGOTTEN, skb->len);
	}
	return VERDICT_NEXT;
}

/* A packet from a backend: perhaps the reply of a flow, if it has flows at all. */
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

/* True if the packet is for a frontend at an address of this node, or may be of a flow of one. */
static __always_inline bool is_for_node_port(const struct packet *packet,
					     const struct address_info *address)
{
	return address->flags & ADDRESS_VIP &&
	       (node_port_is_marked(packet->dst_port) ||
		frontend_lookup(&packet->dst, packet->dst_port, packet->proto));
}

/*
 * A packet for an address of this node: the reply to one of its processes, or to a client whose
 * place it took; or for a NodePort; or, most often, the node's own business. The small tables are
 * asked first, so that only what may be of a flow costs a look at the flow tables, and one only.
 * Returns a verdict, -enum counter_reason, or VERDICT_ASK_VIP: it is for a frontend of the address,
 * or an ICMP error.
 */
static __noinline int to_node(struct __sk_buff *skb, struct packet *packet,
			      const struct address_info *address, const struct hook *hook)
{
	const struct address_info *source;
	const struct flow *flow;
	struct flow_key key;
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
		flow = reply_flow(packet, &key);
		if (flow)
			return flow_forward(skb, packet, &key, flow, hook);
	}
	return is_for_node_port(packet, address) ? VERDICT_ASK_VIP : VERDICT_NEXT;
}

static __always_inline int ingress(struct __sk_buff *skb, struct packet *packet,
				   const struct hook *hook)
{
	const struct address_info *address = address_lookup(&packet->dst);

	if (!address)
		return to_nobody(&packet->dst);
	if (address->flags & ADDRESS_BACKEND)
		(void)to_backend(skb, packet, address);
	if (address->flags & ADDRESS_NODE) {
		int verdict = to_node(skb, packet, address, hook);

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
	int verdict;

	if (packet_is_icmp(packet) && packet->fragment != FRAGMENT_LATER &&
	    packet_read_transport(skb, packet) &&
	    icmp_type_is_error(packet->family, packet->icmp_type)) {
		verdict = error_about_flow(skb, packet, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	address = address_lookup(&packet->src);
	if (address && address->flags & ADDRESS_BACKEND) {
		verdict = from_backend(skb, packet, address, hook);
		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	/* Only the node's own packets have not met an ingress hook yet. */
	if (skb->ingress_ifindex)
		return VERDICT_NEXT;
	address = address_lookup(&packet->dst);
	if (!address)
		return to_nobody(&packet->dst);
	if (address->flags & ADDRESS_VIP)
		return to_vip(skb, packet, address, hook);
	return address->flags & ADDRESS_BACKEND ? to_backend(skb, packet, address) : VERDICT_NEXT;
}

/*
 * What becomes of a packet that a step gave up, by its reason: an answer where somebody waits for
 * one, else it is dropped. Either is counted here and nowhere else.
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
		return transit_answer(skb, packet, hook, reason);
	default:
		counter_add(reason, skb->len);
		return VERDICT_DROP;
	}
}

/* Reads the packet, lets the hook decide, and says it in TC's language. */
static __always_inline int run(struct __sk_buff *skb, const struct hook *hook)
{
	struct packet packet = {};
	__be16 protocol;
	__u32 offset = 0;
	int verdict;

	protocol = packet_network(skb, hook->link_header_size, &offset);
	if (!packet_read_network(skb, protocol, offset, &packet))
		return TC_ACT_UNSPEC;
	verdict = hook->is_egress ? egress(skb, &packet, hook) : ingress(skb, &packet, hook);
	if (verdict < 0)
		verdict = give_up(skb, &packet, hook, -verdict);
	return verdict == VERDICT_NEXT ? TC_ACT_UNSPEC : verdict;
}

SEC("tc")
int fl_ingress(struct __sk_buff *skb)
{
	const struct hook hook = {.link_header_size = ETH_HLEN};

	return run(skb, &hook);
}

SEC("tc")
int fl_egress(struct __sk_buff *skb)
{
	const struct hook hook = {.is_egress = true, .link_header_size = ETH_HLEN};

	return run(skb, &hook);
}

/* The same for links without a link-layer header: tun, wireguard, ipip. */
SEC("tc")
int fl_ingress_l3(struct __sk_buff *skb)
{
	const struct hook hook = {.link_header_size = 0};

	return run(skb, &hook);
}

SEC("tc")
int fl_egress_l3(struct __sk_buff *skb)
{
	const struct hook hook = {.is_egress = true, .link_header_size = 0};

	return run(skb, &hook);
}
