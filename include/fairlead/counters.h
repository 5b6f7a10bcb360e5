/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "fairlead/types.h"

/*
 * Why a packet died, was refused or was left alone, counted where it happens. New ones are added at
 * the end: an upgrade carries the counts over by position.
 * X(enumerator, field, stable name for scripts, sentence for operators).
 */
#define FAIRLEAD_COUNTERS(X)                                                                    \
	X(COUNTER_FORWARDED_NEW, new_flow, "new-flow", "new flow to a backend")                 \
	X(COUNTER_CONNECTED, connected, "connected", "socket connected to a backend")           \
	X(COUNTER_REJECT_NO_BACKEND, no_backend, "no-backend",                                  \
	  "refused: the Service has no usable endpoint")                                        \
	X(COUNTER_REJECT_NO_PORT, no_such_port, "no-such-port",                                 \
	  "refused: the ClusterIP does not have this port")                                     \
	X(COUNTER_REJECT_NO_FLOW, no_flow, "no-flow",                                           \
	  "refused: TCP segment of no known connection")                                        \
	X(COUNTER_REJECT_DEAD_BACKEND, dead_backend, "dead-backend",                            \
	  "refused: the connection's backend is gone")                                          \
	X(COUNTER_DROP_NO_LOCAL, no_local_backend, "no-local-backend",                          \
	  "dropped: policy Local and no endpoint on this node")                                 \
	X(COUNTER_DROP_REJECT_LIMIT, reject_limited, "reject-limited",                          \
	  "dropped: more refusals than the limit of a second allows")                           \
	X(COUNTER_DROP_MALFORMED, malformed, "malformed",                                       \
	  "dropped: for a VIP, but its headers cannot be read")                                 \
	X(COUNTER_DROP_FRAGMENT, fragment, "fragment",                                          \
	  "dropped: a fragment whose first fragment was not seen")                              \
	X(COUNTER_REJECT_PROTOCOL, protocol, "protocol",                                        \
	  "refused: a ClusterIP and a protocol no Service has")                                 \
	X(COUNTER_DROP_ICMP, icmp_error, "icmp-error",                                          \
	  "dropped: an ICMP error for a VIP about no known flow")                               \
	X(COUNTER_DROP_NO_PORT_FREE, no_port_free, "no-port-free",                              \
	  "dropped: no source port left to tell this flow from others")                         \
	X(COUNTER_DROP_NO_ROUTE, no_route, "no-route",                                          \
	  "dropped: no route to the other end of the flow; its sender is told")                 \
	X(COUNTER_DROP_TTL, ttl, "ttl", "dropped: the TTL or hop limit ran out")                \
	X(COUNTER_DROP_REWRITE, rewrite, "rewrite",                                             \
	  "dropped: the kernel refused to rewrite the packet")                                  \
	X(COUNTER_DROP_NEW_FLOWS, new_flow_insert, "new-flow-insert",                           \
	  "dropped: the table of new flows took no entry")                                      \
	X(COUNTER_FLOWS_FULL, flows_full, "flows-full",                                         \
	  "kept among new flows: the table of established flows is full")                       \
	X(COUNTER_ECHO_ANSWERED, echo, "echo", "answered: echo request to a ClusterIP")         \
	X(COUNTER_ICMP_TRANSLATED, icmp_translated, "icmp-translated",                          \
	  "translated: ICMP error about a flow")                                                \
	X(COUNTER_RESELECTED, reselected, "reselected", "flow moved: its backend had left")     \
	X(COUNTER_FORGOTTEN, forgotten, "forgotten",                                            \
	  "stale flow forgotten: its client connects directly")                                 \
	X(COUNTER_SOCKET_EVICTED, socket_evicted, "socket-evicted",                             \
	  "a UDP socket's oldest frontend moved to the table of all sockets")                   \
	X(COUNTER_SOCKET_STATE_FULL, socket_state, "socket-state",                              \
	  "left to TC, or refused: the kernel gave no memory for a socket's state")             \
	X(COUNTER_AFFINITY_FULL, affinity_insert, "affinity-insert",                            \
	  "affinity not remembered: the table took no entry")                                   \
	X(COUNTER_DROP_SOURCE_RANGE, source_range, "source-range",                              \
	  "dropped: the client is in none of the Service's source ranges")                      \
	X(COUNTER_DROP_UNUSED_ADDRESS, unused_address, "unused-address",                        \
	  "dropped: an address of the service range that no Service has")                       \
	X(COUNTER_TOO_BIG, too_big, "too-big",                                                  \
	  "answered: too big for the way to the backend (PMTU)")                                \
	X(COUNTER_TIME_EXCEEDED, time_exceeded, "time-exceeded",                                \
	  "answered: the TTL or hop limit ran out here")                                        \
	X(COUNTER_FORWARDED_XDP, xdp, "xdp",                                                    \
	  "forwarded at XDP: the kernel made no packet of the frame")                           \
	X(COUNTER_DROP_NOT_A_NODE, not_a_node, "not-a-node",                                    \
	  "dropped: a packet for a backend, encapsulated by no node of the cluster")            \
	X(COUNTER_TUPLE_CHANGED, tuple_changed, "tuple-changed",                                \
	  "flow got another source port: its backend knew the first from elsewhere")            \
	X(COUNTER_DIRECT_TRANSLATED, direct_port, "direct-port",                                \
	  "direct conversation got another source port: a flow of the client has its own")      \
	X(COUNTER_UNREACHABLE, unreachable_route, "unreachable-route",                          \
	  "dropped: a route to the other end of the flow says unreachable; its sender is told") \
	X(COUNTER_PROHIBITED, prohibited_route, "prohibited-route",                             \
	  "dropped: a route to the other end of the flow prohibits it; its sender is told")     \
	X(COUNTER_DROP_BLACKHOLE, blackhole_route, "blackhole-route",                           \
	  "dropped: the route to the other end of the flow is a blackhole")                     \
	X(COUNTER_NO_NEIGHBOUR, no_neighbour, "no-neighbour",                                   \
	  "dropped: the next hop of the flow's route does not answer; its sender is told")      \
	X(COUNTER_CONFIRMATION_SENT, confirmation_sent, "confirmation-sent",                    \
	  "a node was told that a client's flow with direct server return has its answer")      \
	X(COUNTER_CONFIRMATION_UNSENT, confirmation_unsent, "confirmation-unsent",              \
	  "a node that asked for a confirmation was not told: no room or no address for one")   \
	X(COUNTER_CONFIRMATION, confirmation, "confirmation",                                   \
	  "taken: a backend's node says that a flow with direct server return has its answer")  \
	X(COUNTER_SKIPPED, skipped, "skipped",                                                  \
	  "left alone: a frame or packet that the stack of this node would not take")           \
	X(COUNTER_DROP_FLOW_BUSY, flow_busy, "flow-busy",                                       \
	  "dropped: another CPU was at work on the old flow that this packet would replace")

enum counter_reason {
#define X(reason, field, name, sentence) reason,
	FAIRLEAD_COUNTERS(X)
#undef X
		COUNTER_COUNT
};

/* The one value of `counters`. Its fields have names for those who dump the map. */
struct counters {
#define X(reason, field, name, sentence) struct counter field;
	FAIRLEAD_COUNTERS(X)
#undef X
};
_Static_assert(sizeof(struct counters) == COUNTER_COUNT * sizeof(struct counter),
	       "map value: an array of counters by reason, too");
