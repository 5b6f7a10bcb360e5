/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include <linux/types.h>

#include "fairlead/limits.h"

/* How packets of near clients (pods of this node) are distinguished from those of far ones. */
enum near_by {
	NEAR_BY_LINK = 0,  /* they arrive on a link whose link_info says so */
	NEAR_BY_RANGE = 1, /* their source is in `near_ranges` */
} __attribute__((packed));
_Static_assert(sizeof(enum near_by) == 1, "a member of map entries");

/* How packets of far clients reach backends on other nodes. A flow keeps the mode it began with. */
enum forwarding {
	FORWARDING_SNAT = 0,   /* with an address of this node as their source */
	FORWARDING_DSR = 1,    /* encapsulated; the backend's node answers the client */
	FORWARDING_HYBRID = 2, /* TCP by direct server return, all others by source NAT */
} __attribute__((packed));
_Static_assert(sizeof(enum forwarding) == 1, "a member of map entries");

/*
 * Read-only configuration of the programs: user space sets it before loading, and the verifier
 * removes the code it disables.
 */
struct config {
	__u32 timeout_tcp_new_s;
	__u32 timeout_tcp_established_s;
	__u32 timeout_tcp_closing_s;
	__u32 timeout_tcp_closed_s;
	__u32 timeout_udp_new_s;
	__u32 timeout_udp_s;
	__u32 rejects_per_second; /* for each CPU; 0: never refuse, drop */
	__u16 source_port_min;    /* host order; ports a rewritten flow may get as its source */
	__u16 source_port_max;
	__u8 has_retval;    /* bpf_set_retval exists (5.18): connect() can say ECONNREFUSED */
	__u8 tc_attached;   /* the TC hooks see what the socket hooks leave alone */
	__u8 count_packets; /* packets and bytes in `service_stats`, not only connections */
	enum near_by near_by;
	enum forwarding forwarding;
	__u8 has_helpers_5_12; /* bpf_check_mtu, the MTU of route lookups, the coarse clock */
	/* From here to source_port_min - 1: the node's own; flows get one if others are taken. */
	__u16 host_port_min;
	__u64 netns_cookie;    /* of the node's network namespace, whose loopback addresses serve
			       NodePorts; 0: not known */
	__u32 flow_check_s;    /* how often each confirmed flow is checked for expiry */
	__u32 flow_checks_max; /* no flow is confirmed while `flow_checks` has this many entries */
	/* From here to host_port_min - 1: also source ports for flows; 0: they are not. */
	__u16 low_port_min;
	__u8 pad[6];
};
_Static_assert(sizeof(struct config) == 64, "every byte is named");

/* Members of an initialiser: what holds unless the kernel or an option says otherwise. */
#define CONFIG_DEFAULTS                                                                         \
	.timeout_tcp_new_s = TIMEOUT_TCP_NEW_S,                                                 \
	.timeout_tcp_established_s = TIMEOUT_TCP_ESTABLISHED_S,                                 \
	.timeout_tcp_closing_s = TIMEOUT_TCP_CLOSING_S,                                         \
	.timeout_tcp_closed_s = TIMEOUT_TCP_CLOSED_S, .timeout_udp_new_s = TIMEOUT_UDP_NEW_S,   \
	.timeout_udp_s = TIMEOUT_UDP_S, .rejects_per_second = REJECTS_PER_SECOND_DEFAULT,       \
	.source_port_min = SOURCE_PORT_MIN_DEFAULT, .source_port_max = SOURCE_PORT_MAX_DEFAULT, \
	.host_port_min = HOST_PORT_MIN_DEFAULT, .low_port_min = LOW_PORT_MIN_DEFAULT,           \
	.flow_check_s = FLOW_CHECK_S, .has_retval = 1, .has_helpers_5_12 = 1
