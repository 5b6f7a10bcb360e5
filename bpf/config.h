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
	.timeout_tcp_new_s = TIMEOUT_TCP_NEW_S,
	.timeout_tcp_established_s = TIMEOUT_TCP_ESTABLISHED_S,
	.timeout_tcp_closing_s = TIMEOUT_TCP_CLOSING_S,
	.timeout_tcp_closed_s = TIMEOUT_TCP_CLOSED_S,
	.timeout_udp_new_s = TIMEOUT_UDP_NEW_S,
	.timeout_udp_s = TIMEOUT_UDP_S,
	.rejects_per_second = REJECTS_PER_SECOND_DEFAULT,
	.source_port_min = SOURCE_PORT_MIN_DEFAULT,
	.source_port_max = SOURCE_PORT_MAX_DEFAULT,
	.host_port_min = HOST_PORT_MIN_DEFAULT,
	.low_port_min = LOW_PORT_MIN_DEFAULT,
	.has_retval = 1,
	.has_helpers_5_12 = 1,
	.tc_attached = 1,
	.flow_check_s = FLOW_CHECK_S,
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
