/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "fairlead/agent.h"
#include "fairlead/counters.h"
#include "fairlead/types.h"

/* What user space does with a map besides pinning it. */
enum map_trait {
	MAP_GROWS = 1U << 0,    /* a larger map with the same content can replace it */
	MAP_IS_SHOWN = 1U << 1, /* `fairlead status` and others read it */
	/*
	 * `fairlead explain` runs its own instance of the programs. They use the agent's map, if
	 * they never write to it, or one of their own of the same size.
	 */
	MAP_IS_LOOKED_INTO = 1U << 2,
	MAP_IS_AS_LARGE = 1U << 3,
	/* Only the TC hooks use it: without them it has next to no room, and nothing in it. */
	MAP_IS_OF_TC = 1U << 4,
	/*
	 * The confirmed flows: replaced together by larger ones, while no flow may come or go
	 * (user/datapath/flow_transfer.h).
	 */
	MAP_IS_OF_FLOWS = 1U << 5,
};

/* Stands for a key or value that a map of this type (queue, ring buffer) does not have. */
struct map_no_bytes {
};

/*
 * Every pinned map, once: X(enumerator, name, key, value, traits). bpf/maps.h and bpf/socket/
 * define them and say who writes; tests/unit/maps_test.c compares. `fairlead cleanup` removes the
 * pins of these names: none has gone yet, and one that goes must be removed all the same.
 */
#define FAIRLEAD_MAPS(X)                                                                           \
	X(MAP_FRONTENDS, frontends, struct frontend, struct frontend_target,                       \
	  MAP_GROWS | MAP_IS_SHOWN | MAP_IS_LOOKED_INTO)                                           \
	X(MAP_ADDRESSES, addresses, struct ip_addr, struct address_info,                           \
	  MAP_GROWS | MAP_IS_SHOWN | MAP_IS_LOOKED_INTO)                                           \
	X(MAP_ADDRESS_FLOWS, address_flows, __u32, struct address_flows,                           \
	  MAP_GROWS | MAP_IS_SHOWN | MAP_IS_AS_LARGE)                                              \
	X(MAP_SERVICES, services, __u32, struct service,                                           \
	  MAP_GROWS | MAP_IS_SHOWN | MAP_IS_AS_LARGE)                                              \
	X(MAP_SLOTS, slots, __u32, struct slot, MAP_GROWS | MAP_IS_SHOWN | MAP_IS_LOOKED_INTO)     \
	X(MAP_BACKENDS, backends, __u32, struct backend,                                           \
	  MAP_GROWS | MAP_IS_SHOWN | MAP_IS_LOOKED_INTO)                                           \
	X(MAP_SERVICE_NAMES, service_names, __u32, struct service_name, MAP_GROWS | MAP_IS_SHOWN)  \
	X(MAP_UNPROGRAMMED, unprogrammed, struct unprogrammed_key, struct unprogrammed,            \
	  MAP_IS_SHOWN)                                                                            \
	X(MAP_AFFINITY, affinity, struct affinity_key, struct affinity, MAP_GROWS | MAP_IS_SHOWN)  \
	X(MAP_FLOWS, flows, struct flow_key, struct confirmed_flow,                                \
	  MAP_IS_SHOWN | MAP_IS_OF_TC | MAP_IS_OF_FLOWS)                                           \
	X(MAP_NEW_FLOWS, new_flows, struct flow_key, struct flow, MAP_IS_SHOWN | MAP_IS_OF_TC)     \
	X(MAP_COUNTERS, counters, __u32, struct counters, MAP_IS_SHOWN)                            \
	X(MAP_SERVICE_STATS, service_stats, __u32, struct service_stats, MAP_GROWS | MAP_IS_SHOWN) \
	X(MAP_LINKS, links, __u32, struct link_info, MAP_IS_SHOWN | MAP_IS_LOOKED_INTO)            \
	X(MAP_AGENT_STATUS, agent_status, __u32, struct agent_status, MAP_IS_SHOWN)                \
	X(MAP_FRAGMENTS, fragments, struct fragment_key, struct fragment_ports,                    \
	  MAP_IS_SHOWN | MAP_IS_OF_TC)                                                             \
	X(MAP_SOURCE_RANGES, source_ranges, struct source_range, __u32,                            \
	  MAP_GROWS | MAP_IS_LOOKED_INTO)                                                          \
	X(MAP_NEAR_RANGES, near_ranges, struct near_range, __u32, MAP_IS_LOOKED_INTO)              \
	X(MAP_SERVICE_RANGES, service_ranges, __u32, struct service_ranges, MAP_IS_LOOKED_INTO)    \
	X(MAP_LINK_SOURCES, link_sources, __u32, struct link_source, MAP_IS_LOOKED_INTO)           \
	X(MAP_CLUSTER_NODES, cluster_nodes, struct ip_addr, enum cluster_node, MAP_IS_LOOKED_INTO) \
	X(MAP_NODE_ADDRESS, node_address, __u32, struct link_source, MAP_IS_LOOKED_INTO)           \
	X(MAP_XDP_LINKS, xdp_links, __u32, struct xdp_link, MAP_IS_LOOKED_INTO)                    \
	X(MAP_FAR_BACKENDS, far_backends, __u32, __u32, MAP_IS_LOOKED_INTO)                        \
	X(MAP_REDIRECT_TARGETS, redirect_targets, __u32, __u32, 0)                                 \
	X(MAP_NODE_PORTS, node_ports, __u32, struct node_ports, 0)                                 \
	X(MAP_OWN_REPLIES, own_replies, struct flow_key, __u32, MAP_IS_OF_TC)                      \
	X(MAP_EXHAUSTED, exhausted, __u32, struct exhausted, 0)                                    \
	X(MAP_FLOW_CHECKS, flow_checks, struct map_no_bytes, struct flow_check,                    \
	  MAP_IS_OF_TC | MAP_IS_OF_FLOWS)                                                          \
	X(MAP_FLOW_RENEWALS, flow_renewals, struct flow_key, struct flow_renewal, 0)               \
	X(MAP_FLOW_SWEEPER, flow_sweeper, __u32, struct flow_sweeper, MAP_IS_OF_FLOWS)             \
	X(MAP_TUPLE_LOCKS, tuple_locks, __u32, struct tuple_lock, 0)                               \
	X(MAP_NEIGHBOUR_SEARCHES, neighbour_searches, struct neighbour, struct neighbour_search,   \
	  0)                                                                                       \
	X(MAP_NEIGHBOUR_SOUGHT, neighbour_sought, __u32, __u32, 0)                                 \
	X(MAP_SOCKET_STATE, socket_state, int, struct socket_state, 0)                             \
	X(MAP_DATAGRAM_STATE, datagram_state, int, struct datagram_state, 0)                       \
	X(MAP_DATAGRAM_OTHERS, datagram_others, struct datagram_key, struct socket_state, 0)       \
	X(MAP_AGENT_SOCKETS, agent_sockets, int, __u32, 0)                                         \
	X(MAP_BIND_ATTEMPTS, bind_attempts, struct map_no_bytes, struct map_no_bytes, 0)

#define FAIRLEAD_MAP_ENUMERATOR(id, name, key, value, traits) id,
enum map_id { FAIRLEAD_MAPS(FAIRLEAD_MAP_ENUMERATOR) MAP_COUNT };
