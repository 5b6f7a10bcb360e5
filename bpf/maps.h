/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Every map on one page. All are pinned by name. "Written by" says who changes a map while programs
 * run; everybody may read. Sizes here are defaults, user space sets the real ones.
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
 * The small table that every packet is asked about: VIPs, backends, the node. Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_DEFAULT + BACKENDS_DEFAULT);
	__type(key, struct ip_addr);
	__type(value, struct address_info);
} addresses SEC(".maps");

/* How busy each of them is. Written by programs; the agent makes new entries zero. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_DEFAULT + BACKENDS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct address_flows);
} address_flows SEC(".maps");

/* Service ports, their lists of slots, and where slots lead. Written by the agent through mmap. */
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

/* Which backend a client had. Written by programs; the one unused longest makes room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AFFINITY_DEFAULT);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinity SEC(".maps");

/*
 * Flows that were answered. Written by programs; nothing is evicted, entries leave when they
 * expire. Full is counted (COUNTER_FLOWS_FULL), and such flows stay in `new_flows`.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS_DEFAULT);
	__type(key, struct flow_key);
	__type(value, struct confirmed_flow);
} flows SEC(".maps");

/*
 * Every confirmed flow waits here to be asked whether it has expired, all equally long: so they
 * stand in the order of their times. An entry that has not its flow's ticket is of one that is
 * over, even if its tuple came back. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, FLOW_CHECKS(FLOWS_DEFAULT));
	__type(value, struct flow_check);
} flow_checks SEC(".maps");

/* The timer that looks at them. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_sweeper);
} flow_sweeper SEC(".maps");

/*
 * Flows that nobody has answered yet. A flood of them can only evict its like. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NEW_FLOWS_DEFAULT);
	__type(key, struct flow_key);
	__type(value, struct flow);
} new_flows SEC(".maps");

/*
 * Conversations that open anew on a tuple whose flow is still alive: the flow follows them once its
 * backend has agreed. By the original tuple. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOW_RENEWALS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow_renewal);
} flow_renewals SEC(".maps");

/* Who works on a flow and its tuples (tuple_lock.h). Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TUPLE_LOCKS);
	__type(key, __u32);
	__type(value, struct tuple_lock);
} tuple_locks SEC(".maps");

/* Ports of packets that travel in fragments. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_DEFAULT);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

/*
 * Replies that conversations of the node itself await at a port that is a NodePort, by their tuple,
 * and when one of either side was seen last. UDP only. Written by programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWN_REPLIES_MAX);
	__type(key, struct flow_key);
	__type(value, __u32);
} own_replies SEC(".maps");

/* Who may use load-balancer IPs. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SOURCE_RANGES_DEFAULT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range);
	__type(value, __u32);
} source_ranges SEC(".maps");

/* Who is near. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NEAR_RANGES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct near_range);
	__type(value, __u32);
} near_ranges SEC(".maps");

/* Where ClusterIPs are from. Written by the agent through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_ranges);
} service_ranges SEC(".maps");

/* Sources of packets whose client's place the node takes. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LINKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct link_source);
} link_sources SEC(".maps");

/*
 * Links that XDP may send to, by ifindex: whose drivers take such frames, for others lose them in
 * silence. With XDP_TARGET_BACK in the key, links that a frame goes back out of by redirection as
 * well, not by XDP_TX. Written by the agent; entries of a device that goes leave by themselves.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, XDP_TARGETS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} redirect_targets SEC(".maps");

/*
 * Who may send encapsulated packets: enum cluster_node, by address. Written by the agent; where
 * direct server return is switched off it stays as it was, for flows that began before.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CLUSTER_NODES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ip_addr);
	__type(value, __u32);
} cluster_nodes SEC(".maps");

/*
 * Ids of some backends on other nodes, IPv4's and then IPv6's, by the lower bits of the id: a place
 * has one (else 0) while there is any. What it is says `backends`. Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FAR_BACKENDS);
	__type(key, __u32);
	__type(value, __u32);
} far_backends SEC(".maps");

/*
 * Next hops that the kernel did not know when a packet was to be sent to them, and has asked for
 * since. Written by programs; the one unused longest makes room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NEIGHBOUR_SEARCHES_MAX);
	__type(key, struct neighbour);
	__type(value, struct neighbour_search);
} neighbour_searches SEC(".maps");

/* When a next hop was last sought, in seconds of the monotonic clock; 0: none is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} neighbour_sought SEC(".maps");

/*
 * The addresses of links that run XDP, in a place that the ifindex says: an array, for a look costs
 * each frame. Two links that want one place share it in that only one has it; frames of the other
 * go up to TC. Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDP_LINKS_MAX);
	__type(key, __u32);
	__type(value, struct xdp_link);
} xdp_links SEC(".maps");

/* The addresses that other nodes know this one by. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct link_source);
} node_address SEC(".maps");

/*
 * Which ports of the node's own addresses may have flows. Written by the agent through mmap when it
 * publishes a NodePort, and by programs, for other frontends; a port that was a NodePort once stays
 * one here, which costs its packets a look at the flow tables.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct node_ports);
} node_ports SEC(".maps");

/* Service ports whose flows found no free source port, by id. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, EXHAUSTED_MAX);
	__type(key, __u32);
	__type(value, struct exhausted);
} exhausted SEC(".maps");

/* Why packets died or were refused: enum counter_reason. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/* Traffic of each service port. Written by programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVICES_DEFAULT);
	__type(key, __u32);
	__type(value, struct service_stats);
} service_stats SEC(".maps");

/*
 * Answers a CPU may still send in this second: a flood of packets to be refused does not keep
 * routers' errors from those who need them, nor the other way round. Written by programs.
 */
enum answer_kind {
	ANSWER_REFUSAL = 0,
	ANSWER_ERROR = 1, /* of a router: no way, too big, no hop left */
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

/* For people, written and read by user space only. */
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
