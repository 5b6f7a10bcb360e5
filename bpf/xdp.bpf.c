/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * XDP on uplinks: packets between far clients and backends on other nodes are turned round in the
 * driver, before the kernel allocates an skb. This hook decides by the same tables and the same
 * code as the TC hooks, and may leave any packet to them: a packet that is not plain, or needs more
 * than a rewrite and a resolved neighbour, is passed up unchanged (XDP_PASS), and TC handles it. So
 * XDP makes forwarding faster and never makes it different.
 *
 * Look up the destination in `addresses`.
 *   Unknown, or a packet that the stack would not accept: pass it up; unused addresses in the
 *   ranges of ClusterIPs are dropped here.
 *   A VIP: the packet belongs to a flow, or opens one. A flow with source NAT is forwarded; other
 *   flows, and packets that need an answer, are left to TC.
 *   An address of this node: as above, or a backend's reply to a client whose address the node's
 *   replaced.
 *
 * A new flow that turns out to be TC's is created here all the same: if two hooks each made a
 * choice, the distribution would not be fair.
 */

#include "flow/create.h"
#include "flow/deferred.h"
#include "flow/original.h"
#include "flow/own_ports.h"
#include "flow/reply.h"
#include "packet/frame.h"
#include "packet/accepted.h"
#include "send/frame_forward.h"
#include "service/node_ports_used.h"
#include "service/service_cidr.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/*
 * Handles a packet that has no usable flow: it opens one, or is left to TC to answer.
 * original_decide() chooses the backend (flow/original.h).
 */
static __noinline enum verdict original_open(struct xdp_md *xdp, const struct packet *packet,
					     const struct address_info *address,
					     const struct hook *hook, struct scratch *scratch)
{
	enum verdict verdict = original_decide(xdp, packet, address, hook, scratch);
	int err;

	if (verdict != VERDICT_OPEN_FLOW)
		return verdict;
	flow_describe_decided(packet, hook, scratch);
	err = flow_choose_source(xdp, packet, hook, scratch);
	if (err)
		return verdict_of(err);
	err = flow_open(xdp, hook, scratch);
	if (err)
		return verdict_of(err);
	return frame_forward(xdp, packet, &scratch->pair.original, hook);
}

/*
 * Handles a packet that may be a backend's reply to a client whose address the node's replaced, or
 * with a hairpin a VIP. Returns VERDICT_ASK_VIP if it has no flow.
 */
static __noinline enum verdict reply(struct xdp_md *xdp, const struct packet *packet,
				     const struct hook *hook)
{
	const struct flow *flow;

	if (!backend_may_have_flows(&packet->src))
		return VERDICT_ASK_VIP;
	flow = reply_flow();
	return flow ? frame_forward(xdp, packet, flow, hook) : VERDICT_ASK_VIP;
}

/* Handles a packet to a VIP: it follows its flow, or opens one (original_open()). */
static __always_inline enum verdict original_follow_or_open(struct xdp_md *xdp,
							    const struct packet *packet,
							    const struct address_info *address,
							    const struct hook *hook)
{
	struct scratch *scratch = scratch_get();
	struct flow *entry, *flow;
	bool is_confirmed;
	enum flow_use use;
	enum verdict verdict;

	if (!scratch)
		return VERDICT_NEXT;
	flow = &scratch->pair.original;
	entry = original_find(packet, &scratch->pair, &is_confirmed);
	if (!entry) {
		verdict = reply(xdp, packet, hook);
		return verdict == VERDICT_ASK_VIP
			       ? original_open(xdp, packet, address, hook, scratch)
			       : verdict;
	}
	if (flow->flags & FLOW_DSR) /* TC also updates such a flow's state */
		return VERDICT_NEXT;
	use = flow_use_of(packet, flow, entry, address);
	if (use == FLOW_GO_ON) {
		(void)flow_go_on(scratch, entry, packet, is_confirmed);
		return frame_forward(xdp, packet, flow, hook);
	}
	/* TC tells the client, or tries again. */
	if (use == FLOW_REFUSE || !original_end(scratch, use, hook))
		return VERDICT_NEXT;
	return original_open(xdp, packet, address, hook, scratch);
}

/*
 * Handles a packet for a VIP or for an address of this node; in the latter case it is the reply of
 * a flow, or for a NodePort, or not ours.
 */
static __always_inline enum verdict to_vip(struct xdp_md *xdp, const struct packet *packet,
					   const struct address_info *address,
					   const struct hook *hook)
{
	enum verdict verdict;

	if (address->flags & ADDRESS_NODE) {
		verdict = reply(xdp, packet, hook);
		if (verdict != VERDICT_ASK_VIP)
			return verdict;
		if (!is_for_node_port(packet, address))
			return VERDICT_NEXT;
	}
	return original_follow_or_open(xdp, packet, address, hook);
}

static __always_inline enum verdict ingress(struct xdp_md *xdp, const struct frame *frame,
					    struct packet *packet, const struct hook *hook)
{
	const struct address_info *address = address_lookup(&packet->dst);
	enum verdict verdict;

	if (!address) {
		verdict = service_cidr_verdict(&packet->dst);
		return verdict && frame_is_accepted(frame, packet, hook) ? verdict : VERDICT_NEXT;
	}
	if (!(address->flags & (ADDRESS_NODE | ADDRESS_VIP)) ||
	    !frame_is_accepted(frame, packet, hook) || !frame_read_transport(frame, packet))
		return VERDICT_NEXT;
	if (packet->tcp_flags & (TCP_RST | TCP_FIN) && frame_segment_is_broken(xdp, packet))
		packet->flags |= PACKET_SEGMENT_IS_BROKEN;
	return to_vip(xdp, packet, address, hook);
}

/*
 * Disposes of a packet that a step gave up: drops and counts it here if nobody gets an answer,
 * otherwise leaves it to TC.
 */
static __always_inline enum verdict give_up(const struct hook *hook, enum counter_reason reason)
{
	switch (reason) {
	case COUNTER_DROP_NO_LOCAL:
	case COUNTER_DROP_NO_PORT_FREE:
	case COUNTER_DROP_NEW_FLOWS:
	case COUNTER_DROP_REWRITE:
	case COUNTER_DROP_SOURCE_RANGE:
	case COUNTER_DROP_UNUSED_ADDRESS:
		counter_add(reason, hook->size);
		return VERDICT_DROPPED;
	default:
		return VERDICT_NEXT;
	}
}

/*
 * Does the deferred work on the packet's flow; a global function for the reasons given in tc.bpf.c.
 */
__noinline int run_deferred(struct xdp_md *xdp)
{
	struct scratch *scratch = scratch_get();

	return scratch ? flow_run_deferred(xdp, scratch) : 0;
}

SEC("xdp")
int fl_xdp(struct xdp_md *xdp)
{
	struct scratch *scratch = scratch_get();
	struct frame frame = frame_of(xdp);
	struct packet *packet;
	struct hook hook = {
		.link_header_size = ETH_HLEN,
		.ifindex = xdp->ingress_ifindex,
		.size = (__u32)(frame.end - frame.data),
	};
	enum verdict verdict;

	if (!scratch)
		return XDP_PASS;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	if (!frame_read_network(&frame, packet))
		return XDP_PASS;
	scratch->due = FLOW_DUE_NOTHING;
	verdict = ingress(xdp, &frame, packet, &hook);
	if (scratch->due)
		(void)run_deferred(xdp);
	if (verdict_is_given_up(verdict))
		verdict = give_up(&hook, verdict_reason(verdict));
	if (verdict == VERDICT_DROPPED)
		return XDP_DROP;
	if (verdict == VERDICT_SENT)
		return XDP_REDIRECT;
	return verdict == VERDICT_SENT_BACK ? XDP_TX : XDP_PASS;
}
