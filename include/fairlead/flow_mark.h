/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Both sides make marks: user space when it copies a half, a program when it merges two copies. */

#include <stdbool.h>

#include "fairlead/types.h"

static inline __attribute__((always_inline)) struct flow_mark flow_mark_of(const struct flow *flow)
{
	const __u32 hash = flow->sent * 0x9e3779b1U + flow->acked * 0x85ebca77U;

	return (struct flow_mark){flow->state, flow->flags, (__u16)(hash >> 16)};
}

static inline __attribute__((always_inline)) bool flow_mark_is(struct flow_mark a,
							       struct flow_mark b)
{
	return a.state == b.state && a.flags == b.flags && a.numbers == b.numbers;
}
