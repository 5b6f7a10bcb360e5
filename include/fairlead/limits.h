/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* The oldest Linux on which everything works; what older ones lack is found by trying. */
#define LINUX_OLDEST "5.15"

/* Sizes that both sides must agree on, and the defaults of what user space may change. */

#define STATE_DIR_DEFAULT     "/var/lib/fairlead"
#define API_SILENCE_DEFAULT_S 180
/* How often the agent looks whether its hooks are still there. */
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
#define XDP_LINKS_MAX     1024  /* places, a power of two */
#define CLUSTER_NODES_MAX 65536 /* addresses; entries are made as they are needed */

/* Backends on other nodes that links are judged by, of each family. */
#define FAR_BACKENDS 8

/* Next hops that the kernel is asking for. */
#define NEIGHBOUR_SEARCHES_MAX 1024

/* Entries are made as they are needed. */
#define SOURCE_RANGES_DEFAULT 65536

/*
 * Entries of UDP sockets that talk to more frontends than their own memory has room for: two for
 * each, so that one socket may talk to each of SERVICES_DEFAULT service ports.
 */
#define DATAGRAM_OTHERS_MAX 16384

/* A list may not have more backends: binary search over it takes this many steps at most. */
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

/* SCTP's likewise, except that a handshake may take an INIT sent again (RFC 9260: a second). */
#define TIMEOUT_SCTP_NEW_S         10
#define TIMEOUT_SCTP_ESTABLISHED_S 210 /* a HEARTBEAT comes every 30 */
#define TIMEOUT_SCTP_CLOSED_S      10

/*
 * How often a confirmed flow is asked whether it has expired; it leaves the table that much later
 * at most. A third of the shortest timeout that many flows have (UDP's) fills the table by a sixth
 * more; it costs 0.35 us a flow, so 0.2 % of a CPU when a table of the default size is full.
 */
#define FLOW_CHECK_S 10

/*
 * Room in `flow_checks`. A flow may have but one half in `flows`, and whoever was ended before its
 * time leaves an entry behind for a while. The spare ones are for those that a CPU has in hand.
 */
#define FLOW_CHECKS_SPARE   4096
#define FLOW_CHECKS(halves) ((halves) + (halves) / 4 + FLOW_CHECKS_SPARE)

/* Conversations that open anew while their flow lives; a flood of them only pushes out its like. */
#define FLOW_RENEWALS_MAX 4096

/* So many flows can be moved or given away at the same time, if no two share a lock. */
#define TUPLE_LOCKS_BITS 12
#define TUPLE_LOCKS      (1U << TUPLE_LOCKS_BITS)

/* How many refusals (RST, ICMP) one CPU sends in a second. */
#define REJECTS_PER_SECOND_DEFAULT 1000

/* Source ports for flows whose own port is taken: above Linux's default ip_local_port_range. */
#define SOURCE_PORT_MIN_DEFAULT 61000
#define SOURCE_PORT_MAX_DEFAULT 65535
#define LOW_PORT_MIN_DEFAULT    1024
/* Where Linux's default ip_local_port_range begins. */
#define HOST_PORT_MIN_DEFAULT 32768

/* Service ports that are remembered as out of source ports. */
#define EXHAUSTED_MAX 256

/* How many source ports are tried before a flow is given up. */
#define PORT_TRIES 16
/* ... and then so many of the node's own range. */
#define NODE_PORT_TRIES 4
