/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The end of confirmed flows. Each waits in one queue, all equally long, and one timer takes those
 * whose time has come: what has expired leaves `flows`, the others go to the queue's end. The timer
 * is the kernel's, so that needs no agent; where there are no timers (before 5.15), each flow that
 * is confirmed asks two others. A timer for each flow would be simpler, but to make, start and free
 * one was an eighth of all that a short connection costs.
 */

#include "atomic.h"
#include "flow.h"

/* So many are asked at a time; then other work has its turn. */
#define CHECKS_A_RUN 256
/* So many are asked by a flow that finds no room. */
#define CHECKS_FOR_ROOM 8
/* So many are asked by each flow that is confirmed: more than come, so that none waits for ever. */
#define CHECKS_WITHOUT_TIMER 2

static __always_inline struct flow_sweeper *flow_sweeper_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_sweeper, &zero);
}

static __always_inline bool flow_check_push(struct flow_sweeper *sweeper,
					    const struct flow_check *check)
{
	/* Before it is there: it may be gone again at once, and the count shall not go below 0. */
	atomic_add(&sweeper->waiting, 1);
	if (!bpf_map_push_elem(&flow_checks, check, BPF_ANY))
		return true;
	atomic_add(&sweeper->waiting, -1);
	return false;
}

/*
 * Asks the flow that has waited longest. Returns by how many seconds that is before its time, which
 * does no harm; 0: not at all; or -ENOENT: none waits. Not static, so that the verifier looks at it
 * once and not each time round a loop.
 */
__noinline int flow_check_next(__u32 now_s)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();
	struct confirmed_flow *confirmed;
	struct flow_check check;
	__s32 early_s;

	if (!sweeper || bpf_map_pop_elem(&flow_checks, &check))
		return -ENOENT;
	atomic_add(&sweeper->waiting, -1);
	early_s = (__s32)(check.due_s - now_s);
	if (early_s < 0)
		early_s = 0;
	confirmed = bpf_map_lookup_elem(&flows, &check.key);
	if (!confirmed || confirmed->ticket != check.ticket)
		return early_s;
	if (flow_is_expired(&confirmed->flow, check.key.proto, now_s)) {
		(void)flow_forget(&check.key, &confirmed->flow);
		return early_s;
	}
	/* There is room: who confirms leaves some spare. */
	check.due_s = now_s + config.flow_check_s;
	(void)flow_check_push(sweeper, &check);
	return early_s;
}

static int flow_sweep(void *map, __u32 *key, struct flow_sweeper *sweeper)
{
	__u64 pause_ns = NSEC_PER_MSEC;
	__u32 now_s = now_seconds();
	int early_s = 0;

	for (int i = 0; i < CHECKS_A_RUN && !early_s; i++)
		early_s = flow_check_next(now_s);
	if (early_s > 0)
		pause_ns = (__u32)early_s * NSEC_PER_SEC;
	else if (early_s < 0)
		pause_ns = config.flow_check_s * NSEC_PER_SEC;
	(void)bpf_timer_start(&sweeper->timer, pause_ns, 0);
	return 0;
}

/*
 * Starts the timer, or makes the one that runs go on with this program: it holds on to that of an
 * earlier load until then.
 */
static __noinline int flow_sweep_start(void)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();

	if (!sweeper)
		return 0;
	/* -EBUSY: somebody did. */
	(void)bpf_timer_init(&sweeper->timer, &flow_sweeper, 1 /* CLOCK_MONOTONIC */);
	if (!bpf_timer_set_callback(&sweeper->timer, flow_sweep) &&
	    !bpf_timer_start(&sweeper->timer, NSEC_PER_MSEC, 0))
		sweeper->load_id = config.load_id;
	return 0;
}

/* Asks a few flows, be it before their time. */
static __always_inline void flow_sweep_some(int count)
{
	__u32 now_s = now_seconds();

	for (int i = 0; i < count; i++) {
		if (flow_check_next(now_s) < 0)
			break;
	}
}

/* Whether a flow that is confirmed may wait in the queue; makes room if need be. */
static __always_inline bool flow_check_has_room(void)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();

	if (!sweeper)
		return false;
	if (sweeper->waiting >= config.flow_checks_max)
		flow_sweep_some(CHECKS_FOR_ROOM);
	return sweeper->waiting < config.flow_checks_max;
}

/* Lets a flow wait that has just been confirmed with this ticket. False: that is not possible. */
static __always_inline bool flow_check_enter(const struct flow_key *original_key, __u32 ticket)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();
	struct flow_check check = {
		.key = *original_key,
		.ticket = ticket,
		.due_s = now_seconds() + config.flow_check_s,
	};

	if (!sweeper || !flow_check_push(sweeper, &check))
		return false;
	if (!config.has_timer)
		flow_sweep_some(CHECKS_WITHOUT_TIMER);
	else if (sweeper->load_id != config.load_id)
		(void)flow_sweep_start();
	return true;
}
