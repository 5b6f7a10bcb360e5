/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What may become of any packet at all, whatever is in it:
 *
 * - a verdict that the hook knows;
 * - a packet of no Service goes on as it came;
 * - a packet that is translated keeps all but addresses, ports, sums, and one hop, and its sums are
 *   as right as they were: by as much as one was wrong before, it is wrong afterwards;
 * - a packet that became an answer, was put into another or taken out of one, is just that.
 */

#include "fuzz/seen.h"

/*
 * Of BPF_PROG_RUN (6.13): the packet comes with the sum that hardware made of it, and the kernel
 * sees whether that fits what it has become. Older headers do not have its name,
 * BPF_F_TEST_SKB_CHECKSUM_COMPLETE.
 */
#define RUN_SUMMED (1U << 2)

enum hook_kind { INGRESS, EGRESS, INGRESS_L3, EGRESS_L3, XDP, HOOKS };

/* A packet at a hook, and what came of it. */
struct run {
	enum hook_kind hook;
	__u32 ifindex, ingress_ifindex;
	__u32 gso_size; /* 0: it is not to be cut */
	__u32 flags;    /* of BPF_PROG_RUN: 0 or RUN_SUMMED */
	struct frame in;
	struct frame out;
	int verdict;
};

bool hook_is_bare(enum hook_kind hook);
bool hook_is_egress(enum hook_kind hook);

/* What came of it, in general. */
bool run_dropped(const struct run *run);
bool run_passed(const struct run *run); /* to whoever comes next; translated or not */
bool run_changed(const struct run *run);

/* What the packet is now. */
struct seen seen_after(const struct run *run);

/* NULL, or what is wrong: a sentence that is the same for each case of its kind. */
const char *oracle_judge(const struct run *run);
