/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* The oldest Linux on which every feature works; what an older kernel lacks is found by trying. */
#define LINUX_OLDEST "5.15"

/* Sizes on which both sides must agree, and the defaults of those that user space may change. */

#define STATE_DIR_DEFAULT     "/var/lib/fairlead"
#define API_SILENCE_DEFAULT_S 180
/* How often the agent checks that its hooks are still attached. */
#define HOOK_CHECK_DEFAULT_S 30
#define PIN_DIR_DEFAULT      "/sys/fs/bpf/fairlead"

/* Defaults of map sizes; user space sets the real ones before loading (--max-...). */
#define SERVICES_DEFAULT  4096
#define SLOTS_DEFAULT     65536
#define BACKENDS_DEFAULT  16384
#define FLOWS_DEFAULT     131072 /* directions, so half as many flows */
#define NEW_FLOWS_DEFAULT 65536  /* directions */
#define AFFINITY_DEFAULT  65536
#define FRAGMENTS_DEFAULT 8192
#define OWN_REPLIES_MAX   16384
#define LINKS_MAX         4096
#define NEAR_RANGES_MAX   256
#define XDP_TARGETS_MAX   512
#define XDP_LINKS_MAX     1024  /* entries; a power of two */
#define CLUSTER_NODES_MAX 65536 /* addresses; entries are allocated on demand */

/* Backends on other nodes, per family, whose routes show by which links nodes' packets arrive. */
#define FAR_BACKENDS 8

/* Next hops whose link-layer address the kernel is resolving. */
#define NEIGHBOUR_SEARCHES_MAX 1024

/* Entries are allocated on demand. */
#define SOURCE_RANGES_DEFAULT 65536

/*
 * Entries for UDP sockets that talk to more frontends than their own storage holds. A frontend
 * takes two, and one socket may talk to each of SERVICES_DEFAULT service ports.
 */
#define DATAGRAM_OTHERS_MAX 16384

/* The most backends in a list, and the most steps of a binary search over one. */
#define SLOT_RANGE_MAX    65536
#define SLOT_SEARCH_STEPS 17

/*
 * Timeouts in seconds: the kernel's conntrack defaults, except for established (kube-proxy's
 * value).
 */
#define TIMEOUT_TCP_NEW_S         60
#define TIMEOUT_TCP_ESTABLISHED_S 86400
#define TIMEOUT_TCP_CLOSING_S     3600
#define TIMEOUT_TCP_CLOSED_S      120
#define TIMEOUT_UDP_NEW_S         30
#define TIMEOUT_UDP_S             120

/*
 * SCTP: also conntrack's defaults, except that a handshake has time for one more INIT (RFC 9260:
 * sent again after a second).
 */
#define TIMEOUT_SCTP_NEW_S         10
#define TIMEOUT_SCTP_ESTABLISHED_S 210 /* a HEARTBEAT is sent every 30 s */
#define TIMEOUT_SCTP_CLOSED_S      10

/*
 * How often each confirmed flow is checked for expiry, and so the longest that an expired one stays
 * in the table. A third of the shortest common timeout (UDP's) fills the table by a sixth more. A
 * check costs 0.35 us, so a full table of the default size takes 0.2 % of a CPU.
 */
#define FLOW_CHECK_S 10

/*
 * Capacity of `flow_checks`. A flow may have only one half in `flows`, and a flow that ended early
 * leaves its entry behind for a while. The spare entries cover those that CPUs have popped but not
 * yet pushed back.
 */
#define FLOW_CHECKS_SPARE   4096
#define FLOW_CHECKS(halves) ((halves) + (halves) / 4 + FLOW_CHECKS_SPARE)

/* Connections that reopen while their flow is alive; a flood of them evicts only its like. */
#define FLOW_RENEWALS_MAX 4096

/* Locks for moving a flow or handing its tuples on; flows that share a lock take turns. */
#define TUPLE_LOCKS_BITS 12
#define TUPLE_LOCKS      (1U << TUPLE_LOCKS_BITS)

/* The most refusals (RST, ICMP) that one CPU sends per second. */
#define REJECTS_PER_SECOND_DEFAULT 1000

/* Source ports for flows whose own port is taken: above Linux's default ip_local_port_range. */
#define SOURCE_PORT_MIN_DEFAULT 61000
#define SOURCE_PORT_MAX_DEFAULT 65535
#define LOW_PORT_MIN_DEFAULT    1024
/* Where Linux's default ip_local_port_range begins. */
#define HOST_PORT_MIN_DEFAULT 32768

/* Service ports remembered as having run out of source ports. */
#define EXHAUSTED_MAX 256

/* Random source ports tried for a new flow, none of them the node's own ... */
#define PORT_TRIES 16
/* ... and how many more, the node's own included. */
#define NODE_PORT_TRIES 4
