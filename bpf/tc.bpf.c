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

/*
 * Claims the reply tuple: with the flow's own source port, or, where that is taken, with another
 * one.
 */
static __noinline int flow_claim(struct flow_draft *draft)
{
	__u32 ports = config.source_port_max - config.source_port_min + 1;
	int err = -EEXIST;

	for (int attempt = 0; attempt < PORT_TRIES && err == -EEXIST; attempt++) {
		if (attempt)
			draft->original.new_src_port =
				bpf_htons(config.source_port_min + bpf_get_prandom_u32() % ports);
		flow_peer_key(&draft->original_key, &draft->original, &draft->reply_key);
		flow_peer(&draft->original_key, &draft->original, &draft->reply);
		err = flow_claim_reply(&draft->reply_key, &draft->reply);
	}
	if (err)
		return err == -EEXIST ? -COUNTER_DROP_NO_PORT_FREE : -COUNTER_DROP_NEW_FLOWS;
	return 0;
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
	if (address_equal(&key->src, &choice->addr)) {
		flow->flags = FLOW_HAIRPIN;
		flow->new_src = key->dst;
	}
}

/*
 * Makes the flow that leads from the frontend, in draft->original_key, to draft->choice; all of it
 * is in the draft afterwards. Returns 0 or -COUNTER_DROP_...
 */
static __noinline int flow_create(struct __sk_buff *skb, const struct hook *hook,
				  struct flow_draft *draft)
{
	__u32 until_s;
	int err;

	flow_draft_fill(draft);
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
		return address->flags & ADDRESS_CLUSTER_IP
			       ? reject(skb, packet, hook, COUNTER_REJECT_NO_PORT)
			       : VERDICT_NEXT;
	if (!packet_opens(packet))
		return reject(skb, packet, hook, COUNTER_REJECT_NO_FLOW);
	err = service_select(&client, target->service, &draft->choice);
	if (err == -COUNTER_REJECT_NO_BACKEND)
		return reject(skb, packet, hook, COUNTER_REJECT_NO_BACKEND);
	if (err)
		return err;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	err = flow_create(skb, hook, draft);
	if (err)
		return err;
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
		return address->flags & ADDRESS_CLUSTER_IP &&
				       service_still_has(flow->service, flow->backend,
							 flow->generation, &flow->slot)
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
	int err;

	err = icmp_rewrite(skb, packet, quote, flow);
	if (err)
		return err;
	counter_add(COUNTER_ICMP_TRANSLATED, skb->len);
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
	struct packet quote;
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
	if (!icmp_type_is_error(packet->family, packet->icmp_type) ||
	    !icmp_read_quote(skb, packet, &quote))
		return address->flags & ADDRESS_CLUSTER_IP ? -COUNTER_DROP_ICMP : VERDICT_NEXT;
	flow = icmp_find_flow(&quote, FLOW_ORIGINAL);
	if (!flow) {
		direction = FLOW_REPLY;
		flow = icmp_find_flow(&quote, FLOW_REPLY);
	}
	return flow ? icmp_error(skb, packet, &quote, flow, direction, hook) : -COUNTER_DROP_ICMP;
}

/* True if the packet is a backend's answer to a client whose place the VIP took. Changes the key.
 */
static __always_inline bool is_hairpin_reply(const struct packet *packet, struct flow_key *key)
{
	const struct address_info *source = address_lookup(&packet->src);
	struct flow *flow;
	bool is_confirmed;

	if (!source || !(source->flags & ADDRESS_BACKEND))
		return false;
	key->direction = FLOW_REPLY;
	flow = flow_find(key, &is_confirmed);
	return flow && !flow_is_expired(flow, key->proto, now_seconds());
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

	packet_flow_key(packet, FLOW_ORIGINAL, &key);
	flow = flow_find(&key, &is_confirmed);
	if (!flow)
		return is_hairpin_reply(packet, &key) ? reply(skb, packet, hook)
						      : original_open(skb, packet, address, hook);
	use = flow_use_of(packet, flow, address);
	if (use == FLOW_GO_ON) {
		flow_touch(&key, flow, is_confirmed, now_seconds());
		flow_follow(&key, flow, packet, is_confirmed);
		return flow_forward(skb, packet, &key, flow, hook);
	}
	(void)flow_forget(&key, flow);
	if (use == FLOW_REFUSE)
		return reject(skb, packet, hook, COUNTER_REJECT_DEAD_BACKEND);
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
	return is_ours ? reject(skb, packet, hook, COUNTER_REJECT_PROTOCOL) : VERDICT_NEXT;
}

/*
 * An ICMP error about a packet to a backend: if a flow sent it there, its client hears of the
 * frontend. The error may come from anywhere on the way.
 */
static __noinline int error_about_flow(struct __sk_buff *skb, const struct packet *packet,
				       const struct hook *hook)
{
	const struct address_info *backend;
	struct packet quote;
	struct flow *flow;

	if (!icmp_read_quote(skb, packet, &quote))
		return VERDICT_NEXT;
	backend = address_lookup(&quote.dst);
	if (!backend || !(backend->flags & ADDRESS_BACKEND) ||
	    !address_may_have_flows(backend, now_seconds()))
		return VERDICT_NEXT;
	flow = icmp_find_flow(&quote, FLOW_REPLY);
	return flow ? icmp_error(skb, packet, &quote, flow, FLOW_REPLY, hook) : VERDICT_NEXT;
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

/* A packet for this node itself: perhaps the reply to one of its processes. */
static __always_inline int to_node(struct __sk_buff *skb, struct packet *packet,
				   const struct hook *hook)
{
	const struct address_info *source;

	if (packet_is_icmp(packet)) {
		if (packet->fragment == FRAGMENT_LATER || !packet_read_transport(skb, packet) ||
		    !icmp_type_is_error(packet->family, packet->icmp_type))
			return VERDICT_NEXT;
		return error_about_flow(skb, packet, hook);
	}
	source = address_lookup(&packet->src);
	if (!source || !(source->flags & ADDRESS_BACKEND))
		return VERDICT_NEXT;
	return from_backend(skb, packet, source, hook);
}

/*
 * The only translation to TC's verdicts, and the only place where what is to be dropped is counted.
 */
static __always_inline int tc_verdict(struct __sk_buff *skb, int verdict)
{
	if (verdict >= 0)
		return verdict == VERDICT_NEXT ? TC_ACT_UNSPEC : verdict;
	counter_add(-verdict, skb->len);
	return TC_ACT_SHOT;
}

static __always_inline int ingress(struct __sk_buff *skb, __u32 link_header_size)
{
	struct hook hook = {.link_header_size = link_header_size};
	const struct address_info *address;
	struct packet packet = {};
	__be16 protocol;
	__u32 offset = 0;

	protocol = packet_network(skb, link_header_size, &offset);
	if (!packet_read_network(skb, protocol, offset, &packet))
		return VERDICT_NEXT;
	address = address_lookup(&packet.dst);
	if (!address)
		return VERDICT_NEXT;
	if (address->flags & (ADDRESS_CLUSTER_IP | ADDRESS_RETIRED))
		return to_vip(skb, &packet, address, &hook);
	if (address->flags & ADDRESS_BACKEND)
		(void)to_backend(skb, &packet, address);
	return address->flags & ADDRESS_NODE ? to_node(skb, &packet, &hook) : VERDICT_NEXT;
}

static __always_inline int egress(struct __sk_buff *skb, __u32 link_header_size)
{
	struct hook hook = {.is_egress = true, .link_header_size = link_header_size};
	const struct address_info *address;
	struct packet packet = {};
	__be16 protocol;
	__u32 offset = 0;

	protocol = packet_network(skb, link_header_size, &offset);
	if (!packet_read_network(skb, protocol, offset, &packet))
		return VERDICT_NEXT;
	if (packet_is_icmp(&packet) && packet.fragment != FRAGMENT_LATER &&
	    packet_read_transport(skb, &packet) &&
	    icmp_type_is_error(packet.family, packet.icmp_type)) {
		int verdict = error_about_flow(skb, &packet, &hook);

		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	address = address_lookup(&packet.src);
	if (address && address->flags & ADDRESS_BACKEND) {
		int verdict = from_backend(skb, &packet, address, &hook);

		if (verdict != VERDICT_NEXT)
			return verdict;
	}
	/* Only the node's own packets have not met an ingress hook yet. */
	if (skb->ingress_ifindex)
		return VERDICT_NEXT;
	address = address_lookup(&packet.dst);
	if (!address)
		return VERDICT_NEXT;
	if (address->flags & (ADDRESS_CLUSTER_IP | ADDRESS_RETIRED))
		return to_vip(skb, &packet, address, &hook);
	return address->flags & ADDRESS_BACKEND ? to_backend(skb, &packet, address) : VERDICT_NEXT;
}

SEC("tc")
int fl_ingress(struct __sk_buff *skb)
{
	return tc_verdict(skb, ingress(skb, ETH_HLEN));
}

SEC("tc")
int fl_egress(struct __sk_buff *skb)
{
	return tc_verdict(skb, egress(skb, ETH_HLEN));
}

/* The same for links without a link-layer header: tun, wireguard, ipip. */
SEC("tc")
int fl_ingress_l3(struct __sk_buff *skb)
{
	return tc_verdict(skb, ingress(skb, 0));
}

SEC("tc")
int fl_egress_l3(struct __sk_buff *skb)
{
	return tc_verdict(skb, egress(skb, 0));
}
