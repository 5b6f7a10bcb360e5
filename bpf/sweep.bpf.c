/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The timer that ends expired flows (flow/sweep.h). It is an object of its own because kernels
 * before 5.15 have no timers and reject every object that contains a callback. The agent runs the
 * program once at each start; the timer belongs to the pinned map `flow_sweeper`, so it keeps
 * running without an agent.
 */

#include "flow/sweep.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Entries checked per timer run; bounds the time in softirq. */
#define CHECKS_A_RUN 256

static int flow_sweep(void *map, __u32 *key, struct flow_sweeper *sweeper)
{
	__u64 pause_ns = NSEC_PER_MSEC;
	__u32 now_s = now_seconds();
	int early_s = 0;

	for (int i = 0; i < CHECKS_A_RUN && !early_s; i++)
		early_s = flow_check_next(now_s);
	/*
	 * "== -ENOENT" because "< 0" after "> 0" triggers a bug in 6.18's verifier, which shows in
	 * dmesg.
	 */
	if (early_s > 0)
		pause_ns = (__u32)early_s * NSEC_PER_SEC;
	else if (early_s == -ENOENT)
		pause_ns = config.flow_check_s * NSEC_PER_SEC;
	(void)bpf_timer_start(&sweeper->timer, pause_ns, 0);
	return 0;
}

/*
 * Starts the timer, or makes a running one continue with this program's callback: until then it
 * holds a reference to an earlier agent's program. Returns 0 or a negative errno to BPF_PROG_RUN.
 */
SEC("tc")
int fl_sweep_start(struct __sk_buff *skb)
{
	struct flow_sweeper *sweeper = flow_sweeper_get();
	int err;

	if (!sweeper)
		return -ENOENT;
	/* -EBUSY: an earlier agent has initialised it. */
	(void)bpf_timer_init(&sweeper->timer, &flow_sweeper, 1 /* CLOCK_MONOTONIC */);
	err = bpf_timer_set_callback(&sweeper->timer, flow_sweep);
	if (err)
		return err;
	err = bpf_timer_start(&sweeper->timer, NSEC_PER_MSEC, 0);
	if (err)
		return err;
	sweeper->has_timer = 1;
	return 0;
}
