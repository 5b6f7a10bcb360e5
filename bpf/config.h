/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "fairlead/config.h"
#include "fairlead/limits.h"

/*
 * Set by user space through the skeleton before loading; the verifier removes the code that it
 * disables.
 */
const volatile struct config config = {
	CONFIG_DEFAULTS,
	.tc_attached = 1,
	.flow_checks_max = FLOW_CHECKS(FLOWS_DEFAULT) - FLOW_CHECKS_SPARE,
};

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

/*
 * Seconds of CLOCK_MONOTONIC. The coarse clock costs only a load, and a resolution of a second is
 * enough.
 */
static __always_inline __u32 now_seconds(void)
{
	return (config.has_helpers_5_12 ? bpf_ktime_get_coarse_ns() : bpf_ktime_get_ns()) /
	       NSEC_PER_SEC;
}
