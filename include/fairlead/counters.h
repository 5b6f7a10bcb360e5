/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Why a packet died, was refused or was left alone: index of `counters`, counted where it happens.
 * X(enumerator, stable name for scripts, sentence for operators).
 */
#define FAIRLEAD_COUNTERS(X)                                                                       \
	X(COUNTER_FORWARDED_NEW, "new-flow", "new flow to a backend")                              \
	X(COUNTER_CONNECTED, "connected", "socket connected to a backend")                         \
	X(COUNTER_REJECT_NO_BACKEND, "no-backend", "refused: the Service has no usable endpoint")  \
	X(COUNTER_REJECT_NO_PORT, "no-such-port",                                                  \
	  "refused: the ClusterIP does not have this port")                                        \
	X(COUNTER_REJECT_NO_FLOW, "no-flow", "refused: TCP segment of no known connection")        \
	X(COUNTER_REJECT_DEAD_BACKEND, "dead-backend",                                             \
	  "refused: the connection's backend is gone")                                             \
	X(COUNTER_DROP_NO_LOCAL, "no-local-backend",                                               \
	  "dropped: policy Local and no endpoint on this node")                                    \
	X(COUNTER_DROP_REJECT_LIMIT, "reject-limited",                                             \
	  "dropped: more refusals than the limit of a second allows")                              \
	X(COUNTER_DROP_MALFORMED, "malformed",                                                     \
	  "dropped: for a VIP, but its headers cannot be read")                                    \
	X(COUNTER_DROP_FRAGMENT, "fragment",                                                       \
	  "dropped: a fragment whose first fragment was not seen")                                 \
	X(COUNTER_REJECT_PROTOCOL, "protocol",                                                     \
	  "refused: a ClusterIP and a protocol no Service has")                                    \
	X(COUNTER_DROP_ICMP, "icmp-error", "dropped: an ICMP error for a VIP about no known flow") \
	X(COUNTER_DROP_NO_PORT_FREE, "no-port-free",                                               \
	  "dropped: no source port left to tell this flow from others")                            \
	X(COUNTER_DROP_NO_ROUTE, "no-route",                                                       \
	  "dropped: no route to the other end of the flow; its sender is told")                    \
	X(COUNTER_DROP_TTL, "ttl", "dropped: the TTL or hop limit ran out")                        \
	X(COUNTER_DROP_REWRITE, "rewrite", "dropped: the kernel refused to rewrite the packet")    \
	X(COUNTER_DROP_NEW_FLOWS, "new-flow-insert",                                               \
	  "dropped: the table of new flows took no entry")                                         \
	X(COUNTER_FLOWS_FULL, "flows-full",                                                        \
	  "kept among new flows: the table of established flows is full")                          \
	X(COUNTER_ECHO_ANSWERED, "echo", "answered: echo request to a ClusterIP")                  \
	X(COUNTER_ICMP_TRANSLATED, "icmp-translated", "translated: ICMP error about a flow")       \
	X(COUNTER_RESELECTED, "reselected", "flow moved: its backend had left")                    \
	X(COUNTER_FORGOTTEN, "forgotten", "stale flow forgotten: its client connects directly")    \
	X(COUNTER_SOCKET_EVICTED, "socket-evicted",                                                \
	  "a UDP socket's oldest frontend moved to the table of all sockets")                      \
	X(COUNTER_SOCKET_STATE_FULL, "socket-state",                                               \
	  "left to TC, or refused: the kernel gave no memory for a socket's state")                \
	X(COUNTER_AFFINITY_FULL, "affinity-insert",                                                \
	  "affinity not remembered: the table took no entry")                                      \
	X(COUNTER_DROP_SOURCE_RANGE, "source-range",                                               \
	  "dropped: the client is in none of the Service's source ranges")                         \
	X(COUNTER_DROP_UNUSED_ADDRESS, "unused-address",                                           \
	  "dropped: an address of the service range that no Service has")                          \
	X(COUNTER_TOO_BIG, "too-big", "answered: too big for the way to the backend (PMTU)")       \
	X(COUNTER_TIME_EXCEEDED, "time-exceeded", "answered: the TTL or hop limit ran out here")   \
	X(COUNTER_FORWARDED_XDP, "xdp",                                                            \
	  "forwarded at XDP: the kernel made no packet of the frame")                              \
	X(COUNTER_DROP_NOT_A_NODE, "not-a-node",                                                   \
	  "dropped: a packet for a backend, encapsulated by no node of the cluster")               \
	X(COUNTER_TUPLE_CHANGED, "tuple-changed",                                                  \
	  "flow got another source port: its backend knew the first from elsewhere")               \
	X(COUNTER_DIRECT_TRANSLATED, "direct-port",                                                \
	  "direct conversation got another source port: a flow of the client has its own")         \
	X(COUNTER_UNREACHABLE, "unreachable-route",                                                \
	  "dropped: a route to the other end of the flow says unreachable; its sender is told")    \
	X(COUNTER_PROHIBITED, "prohibited-route",                                                  \
	  "dropped: a route to the other end of the flow prohibits it; its sender is told")        \
	X(COUNTER_DROP_BLACKHOLE, "blackhole-route",                                               \
	  "dropped: the route to the other end of the flow is a blackhole")                        \
	X(COUNTER_NO_NEIGHBOUR, "no-neighbour",                                                    \
	  "dropped: the next hop of the flow's route does not answer; its sender is told")         \
	X(COUNTER_CONFIRMATION_SENT, "confirmation-sent",                                          \
	  "a node was told that a client's flow with direct server return has its answer")         \
	X(COUNTER_CONFIRMATION_UNSENT, "confirmation-unsent",                                      \
	  "a node that asked for a confirmation was not told: no room or no address for one")      \
	X(COUNTER_CONFIRMATION, "confirmation",                                                    \
	  "taken: a backend's node says that a flow with direct server return has its answer")     \
	X(COUNTER_SKIPPED, "skipped",                                                              \
	  "left alone: a frame or packet that the stack of this node would not take")              \
	X(COUNTER_DROP_FLOW_BUSY, "flow-busy",                                                     \
	  "dropped: another CPU was at work on the old flow that this packet would replace")

enum counter_reason {
#define X(reason, name, sentence) reason,
	FAIRLEAD_COUNTERS(X)
#undef X
		COUNTER_COUNT
};
