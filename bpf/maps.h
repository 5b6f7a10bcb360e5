/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Every map on one page. All are pinned by name. "Written by" says who changes a map while programs
 * run; every side may read. The sizes here are defaults: user space sets the real ones.
 */

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "fairlead/agent.h"
#include "fairlead/counters.h"
#include "fairlead/limits.h"
#include "fairlead/types.h"

/* What clients dial. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_DEFAULT);
	__type(key, struct frontend);
	__type(value, struct frontend_target);
} frontends SEC(".maps");

/*
 * The table in which every packet's address is looked up: VIPs, backends, the node's addresses.
 * Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_DEFAULT + BACKENDS_DEFAULT);
	__type(key, struct ip_addr);
	__type(value, struct address_info);
} addresses SEC(".maps");

/* How busy each address is. Written by programs; the agent zeroes new entries. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_DEFAULT + BACKENDS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct address_flows);
} address_flows SEC(".maps");

/*
 * Service ports, their lists of slots, and the backends of slots. Written by the agent through
 * mmap.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

/*
 * The backend that a client had last. Written by programs; the least recently used entry is
 * evicted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AFFINITY_DEFAULT);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinity SEC(".maps");

/*
 * Confirmed flows. Written by programs; nothing is evicted, entries leave when they expire. If the
 * map is full, that is counted (COUNTER_FLOWS_FULL) and the flow stays in `new_flows`.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS_DEFAULT);
	__type(key, struct flow_key);
	__type(value, struct confirmed_flow);
} flows SEC(".maps");

/*
 * Confirmed flows queued for their next expiry check. All wait equally long, so the queue is in the
 * order of their due times. An entry whose ticket differs from its flow's belongs to a flow that
 * has ended, even if another flow has the same tuple now. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, FLOW_CHECKS(FLOWS_DEFAULT));
	__type(value, struct flow_check);
} flow_checks SEC(".maps");

/* The timer that checks them. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_sweeper);
} flow_sweeper SEC(".maps");

/*
 * Flows that are not confirmed yet. A flood of them can evict only other new flows. Written by
 * programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NEW_FLOWS_DEFAULT);
	__type(key, struct flow_key);
	__type(value, struct flow);
} new_flows SEC(".maps");

/*
 * Conversations that open on a tuple whose flow is still alive: the flow follows them once its
 * backend has agreed. Keyed by the original tuple. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOW_RENEWALS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow_renewal);
} flow_renewals SEC(".maps");

/* Locks of flows and their tuples (flow/tuple_lock.h). Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TUPLE_LOCKS);
	__type(key, __u32);
	__type(value, struct tuple_lock);
} tuple_locks SEC(".maps");

/* Ports of fragmented packets. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_DEFAULT);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

/*
 * Replies that conversations of the node itself expect at a port that is a NodePort: by their
 * tuple, the time when a packet of either side was last seen. UDP only. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWN_REPLIES_MAX);
	__type(key, struct flow_key);
	__type(value, __u32);
} own_replies SEC(".maps");

/* Client ranges that may use load-balancer IPs. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SOURCE_RANGES_DEFAULT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range);
	__type(value, __u32);
} source_ranges SEC(".maps");

/* Address ranges of near clients. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NEAR_RANGES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct near_range);
	__type(value, __u32);
} near_ranges SEC(".maps");

/* The ranges that ClusterIPs are allocated from. Written by the agent through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_ranges);
} service_ranges SEC(".maps");

/* Source addresses for source NAT, by link. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LINKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct link_source);
} link_sources SEC(".maps");

/*
 * Links that XDP may send to, by ifindex: only those whose drivers transmit such frames, because
 * others lose them silently. With XDP_TARGET_BACK in the key: links that send frames back out by
 * redirection, not by XDP_TX. Written by the agent; the kernel removes the entries of a device that
 * goes away.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, XDP_TARGETS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} redirect_targets SEC(".maps");

/*
 * Addresses of the cluster's nodes: only other nodes may send encapsulated packets. Written by the
 * agent. If direct server return is switched off, the map stays as it was, for flows that began
 * before.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CLUSTER_NODES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ip_addr);
	__type(value, enum cluster_node);
} cluster_nodes SEC(".maps");

/*
 * Ids of some backends on other nodes, first IPv4's and then IPv6's, each at a place given by the
 * lower bits of the id. A place is 0 only if no backend fits it. `backends` describes the backend.
 * Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FAR_BACKENDS);
	__type(key, __u32);
	__type(value, __u32);
} far_backends SEC(".maps");

/*
 * Next hops that were unresolved when a packet was to be sent to them and that the kernel has been
 * resolving since. Written by programs; the least recently used entry is evicted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NEIGHBOUR_SEARCHES_MAX);
	__type(key, struct neighbour);
	__type(value, struct neighbour_search);
} neighbour_searches SEC(".maps");

/* When a next hop was last found unresolved, in seconds of the monotonic clock; 0 if none is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} neighbour_sought SEC(".maps");

/*
 * Link-layer addresses of links that run XDP, at an index computed from the ifindex: an array,
 * because every frame pays for the lookup. If two links map to the same index, only one has the
 * entry, and frames of the other go up to TC. Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDP_LINKS_MAX);
	__type(key, __u32);
	__type(value, struct xdp_link);
} xdp_links SEC(".maps");

/* The addresses by which other nodes know this one. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct link_source);
} node_address SEC(".maps");

/*
 * The ports of the node's own addresses that may have flows. Written by the agent through mmap when
 * it publishes a NodePort, and by programs for other frontends. A port is never cleared, which
 * costs its packets a lookup in the flow tables.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct node_ports);
} node_ports SEC(".maps");

/* Service ports whose flows have found no free source port, by id. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, EXHAUSTED_MAX);
	__type(key, __u32);
	__type(value, struct exhausted);
} exhausted SEC(".maps");

/*
 * Packets dropped, refused or otherwise accounted for, by enum counter_reason. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Traffic of each service port. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVICES_DEFAULT);
	__type(key, __u32);
	__type(value, struct service_stats);
} service_stats SEC(".maps");

/*
 * Answers that a CPU may still send in this second, by kind, so that a flood of packets to be
 * refused cannot suppress a router's errors, nor the other way round. Written by programs.
 */
enum answer_kind {
	ANSWER_REFUSAL = 0,
	ANSWER_ERROR = 1, /* of a router: no route, packet too big, hop limit exceeded */
	ANSWER_KINDS
};

struct reject_budget {
	__u32 second;
	__u32 left;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ANSWER_KINDS);
	__type(key, __u32);
	__type(value, struct reject_budget);
} reject_budget SEC(".maps");

/* For operators; written and read by user space only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_DEFAULT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct service_name);
} service_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct unprogrammed_key);
	__type(value, struct unprogrammed);
} unprogrammed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LINKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct link_info);
} links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct agent_status);
} agent_status SEC(".maps");
