/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Sends a frame of a flow on in the driver, if XDP handles such flows and needs no help: the
 * route's neighbour is resolved, the packet fits, and the link can send redirected frames. Every
 * other frame is left to TC unchanged.
 */

#include "counter.h"
#include "verdict.h"
#include "flow/flow.h"
#include "nat/frame_nat.h"
#include "packet/frame.h"
#include "packet/mac.h"
#include "route/neighbour.h"
#include "route/route.h"

/* Set by user space if the kernel supports frames that span several buffers (5.18). */
const volatile bool frames_may_be_split = false;

/* Flags that XDP handles: a flow with any other flag (besides source NAT) is left to TC. */
#define FLOW_FLAGS_PLAIN (FLOW_FIN_ORIGINAL | FLOW_FIN_REPLY)

/*
 * When a packet last went through TC to refresh its neighbour, by neighbour; several share an
 * entry.
 */
#define NEIGHBOUR_PLACES     64
#define NEIGHBOUR_INTERVAL_S 5

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NEIGHBOUR_PLACES);
	__type(key, __u32);
	__type(value, __u32);
} neighbours_used SEC(".maps");

/* True if the whole frame is in the buffer that the program sees. */
static __always_inline bool frame_is_whole(struct xdp_md *xdp, const struct frame *frame)
{
	return !frames_may_be_split ||
	       bpf_xdp_get_buff_len(xdp) == (__u64)(frame->end - frame->data);
}

/*
 * Finds a route that XDP can use alone: its neighbour is resolved and its MTU is large enough.
 * Kernels before 6.7 may return a neighbour that never answered.
 */
static __always_inline bool route_find_link(struct xdp_md *xdp, const struct packet *packet,
					    const struct hook *hook, const struct rewrite *rewrite,
					    struct bpf_fib_lookup *ret_fib)
{
	ret_fib->tot_len = hook->size - ETH_HLEN;
	return route_ask(xdp, packet, hook, rewrite, ret_fib) == BPF_FIB_LKUP_RET_SUCCESS &&
	       !mac_is_zero(ret_fib->dmac);
}

/*
 * True if this frame must go through TC to refresh its neighbour. One does so now and then, so that
 * the kernel sees the neighbour in use and checks that it is still reachable. Otherwise a neighbour
 * that only XDP uses would keep its address for ever, and a failed router would go unnoticed.
 */
static __always_inline bool neighbour_needs_packet(const struct bpf_fib_lookup *fib, __u32 now_s)
{
	__u32 place = (fib->dmac[5] ^ fib->ifindex) % NEIGHBOUR_PLACES;
	__u32 *used_s = bpf_map_lookup_elem(&neighbours_used, &place);

	if (!used_s || (__s32)(now_s - *used_s) < NEIGHBOUR_INTERVAL_S)
		return false;
	*used_s = now_s;
	return true;
}

/*
 * The verdict that sends a frame out of a link, or VERDICT_NEXT if XDP cannot send to that link.
 * Nothing is sent yet.
 */
static __always_inline enum verdict frame_exit(const struct bpf_fib_lookup *fib,
					       const struct hook *hook)
{
	bool is_back = fib->ifindex == hook->ifindex;
	int action = bpf_redirect_map(&redirect_targets,
				      is_back ? fib->ifindex | XDP_TARGET_BACK : fib->ifindex,
				      is_back ? XDP_TX : XDP_PASS);

	if (action == XDP_REDIRECT)
		return VERDICT_SENT;
	return action == XDP_TX ? VERDICT_SENT_BACK : VERDICT_NEXT;
}

static __always_inline bool frame_write_macs(struct xdp_md *xdp, const struct bpf_fib_lookup *fib)
{
	struct frame frame = frame_of(xdp);
	struct ethhdr *header = frame.data;

	if ((void *)(header + 1) > frame.end)
		return false;
	__builtin_memcpy(header->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(header->h_source, fib->smac, ETH_ALEN);
	return true;
}

/* Forwards a packet of a flow if XDP handles such flows and nothing prevents it. */
static __noinline enum verdict frame_forward(struct xdp_md *xdp, const struct packet *packet,
					     const struct flow *flow, const struct hook *hook)
{
	struct frame frame = frame_of(xdp);
	struct scratch *scratch = scratch_get();
	struct bpf_fib_lookup fib = {};
	__u32 service = flow->service;
	enum verdict verdict;

	if (!scratch || (flow->flags & ~FLOW_FLAGS_PLAIN) != FLOW_SOURCE_NAT || packet->ttl <= 1)
		return VERDICT_NEXT;
	if (!frame_is_whole(xdp, &frame) || !frame_is_translatable(&frame, packet))
		return VERDICT_NEXT;
	rewrite_from_flow(flow, &scratch->rewrite);
	if (!route_find_link(xdp, packet, hook, &scratch->rewrite, &fib))
		return VERDICT_NEXT;
	if (neighbours_are_sought()) {
		neighbour_fill(&scratch->route.next, &fib);
		(void)neighbour_search_end(&scratch->route.next);
	}
	if (neighbour_needs_packet(&fib, now_seconds()))
		return VERDICT_NEXT;
	verdict = frame_exit(&fib, hook);
	if (verdict == VERDICT_NEXT)
		return VERDICT_NEXT;
	if (!frame_translate(xdp, packet, &scratch->rewrite) || !frame_write_macs(xdp, &fib))
		return verdict_give_up(COUNTER_DROP_REWRITE);
	if (config.count_packets)
		stats_count_packet(service, hook->size);
	counter_add(COUNTER_FORWARDED_XDP, hook->size);
	return verdict;
}
