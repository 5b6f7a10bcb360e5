/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * XDP on uplinks: packets between far clients and backends on other nodes turn round in the driver,
 * before the kernel has made packets of their frames. It decides by the same tables and the same
 * code as the TC hooks do, and it may always leave a packet to them: what is not plain, or needs
 * more than a rewrite and a known neighbour, goes up as it came (XDP_PASS), and TC sees to it. So
 * this makes things fast and never makes them different.
 *
 * Ask the small table what the destination is.
 *   Nothing to us, or no packet that the stack would take: go up; addresses of the Services' ranges
 *   that nobody has are dropped here.
 *   A VIP: the packet belongs to a flow, or opens one. A flow with source NAT is forwarded; other
 *   flows are TC's, and so is whoever must be answered.
 *   An address of this node: as above, or a backend's reply to a client whose place the node took.
 *
 * A new flow that turns out to be TC's is made here all the same: two hooks that chose one after
 * the other would not choose fairly.
 */

#include "flow/create.h"
#include "flow/use.h"
#include "packet/mac.h"
#include "packet/martian.h"
#include "route/neighbour.h"
#include "service/node_port.h"
#include "flow/own_ports.h"
#include "service/service_cidr.h"
#include "nat/frame_nat.h"
#include "packet/frame.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Set by user space where the kernel knows frames that come in several buffers (5.18). */
const volatile bool frames_may_be_split = false;

/* Of a step that leaves the decision to another one. */
#define VERDICT_ASK_VIP (-COUNTER_COUNT)

/* Of a flow, as XDP knows them: one with any other flag is TC's. */
#define FLOW_FLAGS_PLAIN (FLOW_FIN_ORIGINAL | FLOW_FIN_REPLY)

/* When a packet went by TC last, for the sake of its neighbour; several may share a place. */
#define NEIGHBOUR_PLACES     64
#define NEIGHBOUR_INTERVAL_S 5

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NEIGHBOUR_PLACES);
	__type(key, __u32);
	__type(value, __u32);
} neighbours_used SEC(".maps");

/* True if all of it is in the buffer that a program sees. */
static __always_inline bool frame_is_whole(struct xdp_md *xdp, const struct frame *frame)
{
	return !frames_may_be_split ||
	       bpf_xdp_get_buff_len(xdp) == (__u64)(frame->end - frame->data);
}

/*
 * Finds a way that needs nobody's help: to a neighbour that is known, and large enough. Kernels
 * before 6.7 may give a neighbour that never answered.
 */
static __always_inline bool route_find_link(struct xdp_md *xdp, const struct packet *packet,
					    const struct hook *hook, const struct rewrite *rewrite,
					    struct bpf_fib_lookup *ret_way)
{
	ret_way->tot_len = hook->size - ETH_HLEN;
	return route_ask(xdp, packet, hook, rewrite, ret_way) == BPF_FIB_LKUP_RET_SUCCESS &&
	       !mac_is_zero(ret_way->dmac);
}

/*
 * True if this frame shall go by TC for its neighbour's sake: once in a while one does, so that the
 * kernel sees the neighbour used, and asks whether it is still there. A neighbour that only XDP
 * uses would keep its address for ever, and that a router has failed would not be noticed.
 */
static __always_inline bool neighbour_needs_packet(const struct bpf_fib_lookup *way, __u32 now_s)
{
	__u32 place = (way->dmac[5] ^ way->ifindex) % NEIGHBOUR_PLACES;
	__u32 *used_s = bpf_map_lookup_elem(&neighbours_used, &place);

	if (!used_s || (__s32)(now_s - *used_s) < NEIGHBOUR_INTERVAL_S)
		return false;
	*used_s = now_s;
	return true;
}

/*
 * How a frame gets to a link: a verdict, or VERDICT_NEXT where XDP cannot send to it. Nothing is
 * sent yet.
 */
static __always_inline int way_out(const struct bpf_fib_lookup *way, const struct hook *hook)
{
	int verdict;

	if (way->ifindex == hook->ifindex)
		return bpf_redirect_map(&redirect_targets, way->ifindex | XDP_TARGET_BACK, XDP_TX);
	verdict = bpf_redirect_map(&redirect_targets, way->ifindex, XDP_PASS);
	return verdict == XDP_PASS ? VERDICT_NEXT : verdict;
}

static __always_inline bool frame_write_macs(struct xdp_md *xdp, const struct bpf_fib_lookup *way)
{
	struct frame frame = frame_of(xdp);
	struct ethhdr *header = frame.data;

	if ((void *)(header + 1) > frame.end)
		return false;
	__builtin_memcpy(header->h_dest, way->dmac, ETH_ALEN);
	__builtin_memcpy(header->h_source, way->smac, ETH_ALEN);
	return true;
}

/* Sends a packet of a flow on, if that is XDP's to do and nothing is in the way. */
static __noinline int flow_forward(struct xdp_md *xdp, const struct packet *packet,
				   const struct flow *flow, const struct hook *hook)
{
	struct frame frame = frame_of(xdp);
	struct flow_draft *draft = flow_draft_get();
	struct bpf_fib_lookup way = {};
	__u32 service = flow->service;
	int verdict;

	if (!draft || (flow->flags & ~FLOW_FLAGS_PLAIN) != FLOW_SOURCE_NAT || packet->ttl <= 1)
		return VERDICT_NEXT;
	if (!frame_is_whole(xdp, &frame) || !frame_is_translatable(&frame, packet))
		return VERDICT_NEXT;
	rewrite_from_flow(flow, &draft->rewrite);
	if (!route_find_link(xdp, packet, hook, &draft->rewrite, &way))
		return VERDICT_NEXT;
	if (neighbours_are_sought()) {
		neighbour_fill(&draft->route.next, &way);
		(void)neighbour_search_end(&draft->route.next);
	}
	if (neighbour_needs_packet(&way, now_seconds()))
		return VERDICT_NEXT;
	verdict = way_out(&way, hook);
	if (verdict == VERDICT_NEXT)
		return VERDICT_NEXT;
	if (!frame_translate(xdp, packet, &draft->rewrite) || !frame_write_macs(xdp, &way))
		return -COUNTER_DROP_REWRITE;
	if (config.count_packets)
		stats_count_packet(service, hook->size);
	counter_add(COUNTER_FORWARDED_XDP, hook->size);
	return verdict;
}

/* A packet that belongs to no flow we may go on with opens one, or is TC's to answer. */
static __noinline int original_open(struct xdp_md *xdp, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook,
				    struct flow_draft *draft)
{
	const struct frontend_target *target;
	int err;

	target = frontend_lookup(&packet->dst, packet->dst_port, packet->proto);
	if (!target || (address->flags & ADDRESS_NODE && is_own_reply(xdp, packet, draft)))
		return VERDICT_NEXT;
	err = flow_decide(packet, hook, target, draft);
	if (err)
		return err;
	flow_draft_fill(packet, hook, draft);
	err = flow_choose_source(xdp, packet, hook, draft);
	if (!err)
		err = flow_open(xdp, hook, draft);
	if (err)
		return err;
	if (address->flags & ADDRESS_NODE)
		node_port_mark(packet->dst_port);
	return flow_forward(xdp, packet, &draft->original, hook);
}

/*
 * A packet that is perhaps a backend's reply: to a client whose place the node took, or, with a
 * hairpin, a VIP. Returns a verdict, -enum counter_reason, or VERDICT_ASK_VIP: it is of no flow.
 */
static __noinline int reply(struct xdp_md *xdp, const struct packet *packet,
			    const struct hook *hook)
{
	const struct address_info *source = address_lookup(&packet->src);
	const struct flow *flow;

	if (!source || !(source->flags & ADDRESS_BACKEND) ||
	    !address_may_have_flows(source, now_seconds()))
		return VERDICT_ASK_VIP;
	flow = reply_flow();
	return flow ? flow_forward(xdp, packet, flow, hook) : VERDICT_ASK_VIP;
}

/* A packet to a VIP: of a flow that goes on, or it opens one. */
static __always_inline int original(struct xdp_md *xdp, const struct packet *packet,
				    const struct address_info *address, const struct hook *hook)
{
	struct flow_draft *draft = flow_draft_get();
	struct flow *entry, *flow;
	bool is_confirmed;
	enum flow_use use;
	int verdict;

	if (!draft)
		return VERDICT_NEXT;
	flow = &draft->original;
	packet_flow_key(packet, FLOW_ORIGINAL, &draft->original_key);
	entry = original_entry(draft, packet, &is_confirmed);
	if (!entry) {
		verdict = reply(xdp, packet, hook);
		return verdict == VERDICT_ASK_VIP ? original_open(xdp, packet, address, hook, draft)
						  : verdict;
	}
	if (flow->flags & FLOW_DSR) /* how it goes on, TC notes as well */
		return VERDICT_NEXT;
	use = flow_use_of(packet, flow, entry, address);
	if (use == FLOW_GO_ON) {
		(void)flow_go_on(draft, entry, packet, is_confirmed);
		return flow_forward(xdp, packet, flow, hook);
	}
	if (use == FLOW_REFUSE)
		return VERDICT_NEXT;
	if (!flow_forget(FLOW_ORIGINAL,
			 flow->state == FLOW_CLOSED ? FLOW_LEAVES_REPLY : FLOW_LEAVES_NOTHING))
		return VERDICT_NEXT; /* TC tries once more */
	if (use == FLOW_MOVE)
		counter_add(COUNTER_RESELECTED, hook->size);
	return original_open(xdp, packet, address, hook, draft);
}

/*
 * A packet for a VIP, or for an address of this node: then it is the reply of a flow, or for a
 * NodePort, or not ours.
 */
static __always_inline int to_vip(struct xdp_md *xdp, const struct packet *packet,
				  const struct address_info *address, const struct hook *hook)
{
	int verdict;

	if (address->flags & ADDRESS_NODE) {
		verdict = reply(xdp, packet, hook);
		if (verdict != VERDICT_ASK_VIP)
			return verdict;
		if (!is_for_node_port(packet, address))
			return VERDICT_NEXT;
	}
	return original(xdp, packet, address, hook);
}

/* True if a frame is for the link that it came by, or for the bridge that the link is a port of. */
static __always_inline bool frame_is_for_link(const struct frame *frame, const struct hook *hook)
{
	__u32 place = hook->ifindex % XDP_LINKS_MAX;
	const struct xdp_link *link = bpf_map_lookup_elem(&xdp_links, &place);
	const struct ethhdr *header = frame->data;

	if ((void *)(header + 1) > frame->end || !link || link->ifindex != hook->ifindex)
		return false;
	return mac_equal(header->h_dest, link->mac) || mac_equal(header->h_dest, link->bridge_mac);
}

/* True if the stack would take the packet; all others go up to it. */
static __always_inline bool frame_is_taken(const struct frame *frame, const struct packet *packet,
					   const struct hook *hook)
{
	return frame_is_for_link(frame, hook) && !packet_is_martian(packet) &&
	       !(packet->flags & PACKET_SUM_IS_OFF);
}

static __always_inline int ingress(struct xdp_md *xdp, const struct frame *frame,
				   struct packet *packet, const struct hook *hook)
{
	const struct address_info *address = address_lookup(&packet->dst);
	int verdict;

	if (!address) {
		verdict = to_nobody(&packet->dst);
		return verdict && frame_is_taken(frame, packet, hook) ? verdict : VERDICT_NEXT;
	}
	if (!(address->flags & (ADDRESS_NODE | ADDRESS_VIP)) ||
	    !frame_is_taken(frame, packet, hook) || !frame_read_transport(frame, packet))
		return VERDICT_NEXT;
	if (packet->tcp_flags & (TCP_RST | TCP_FIN) && frame_segment_is_broken(xdp, packet))
		packet->flags |= PACKET_SEGMENT_IS_BROKEN;
	return to_vip(xdp, packet, address, hook);
}

/*
 * What becomes of a packet that a step gave up: those that nobody answers are dropped and counted
 * here, all others are TC's.
 */
static __always_inline int give_up(const struct hook *hook, enum counter_reason reason)
{
	switch (reason) {
	case COUNTER_DROP_NO_LOCAL:
	case COUNTER_DROP_NO_PORT_FREE:
	case COUNTER_DROP_NEW_FLOWS:
	case COUNTER_DROP_REWRITE:
	case COUNTER_DROP_SOURCE_RANGE:
	case COUNTER_DROP_UNUSED_ADDRESS:
		counter_add(reason, hook->size);
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

/* A global function, as in tc.bpf.c. */
__noinline int settle(struct xdp_md *xdp)
{
	struct flow_draft *draft = flow_draft_get();

	return draft ? flow_settle(xdp, draft) : 0;
}

SEC("xdp")
int fl_xdp(struct xdp_md *xdp)
{
	struct flow_draft *draft = flow_draft_get();
	struct frame frame = frame_of(xdp);
	struct packet *packet;
	struct hook hook = {
		.link_header_size = ETH_HLEN,
		.ifindex = xdp->ingress_ifindex,
		.size = (__u32)(frame.end - frame.data),
	};
	int verdict;

	if (!draft)
		return XDP_PASS;
	packet = &draft->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	if (!frame_read_network(&frame, packet))
		return XDP_PASS;
	draft->due = FLOW_DUE_NOTHING;
	verdict = ingress(xdp, &frame, packet, &hook);
	if (draft->due)
		(void)settle(xdp);
	if (verdict < 0)
		return give_up(&hook, -verdict);
	return verdict == VERDICT_NEXT ? XDP_PASS : verdict;
}
