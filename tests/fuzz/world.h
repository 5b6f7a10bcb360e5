/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A small cluster as one node sees it, in both families, with services of every protocol:
 *
 *   far clients --- fl-up (.3.1, default route)  NODE  fl-over (.4.1) --- pods of other nodes
 *                                                  |
 *                                               fl-pod --- pods of this node, and near clients
 *
 * All addresses are 8.0.NET.x and 2001:db8:86dd:NET::x: BPF_PROG_RUN takes bytes 12 and 13 of a
 * packet without link-layer header for its Ethernet type, and these have it there as sources.
 */

#include "bpf/packets.h"
#include "fairlead/config.h"
#include "fairlead/types.h"
#include "skeleton/xdp.skel.h"

enum net {
	NET_NEAR = 0,
	NET_PODS = 1,
	NET_VIPS = 2,
	NET_UPLINK = 3,
	NET_OVERLAY = 4,
	NET_EXTERNAL = 5,
	NET_FAR = 8,
	NET_REMOTE_PODS = 9,
};

/* Last bytes of addresses. */
#define NODE_HERE      1
#define NODE_OTHER     2
#define NODE_STRANGE   3
#define LOCAL_PODS     2
#define REMOTE_PODS    3
#define FRONTEND_PORT  80
#define FRONTEND_OTHER 81 /* nobody has it */
#define NODE_PORT      30080

/* ClusterIPs, and what stands behind them. */
enum vip {
	VIP_MIXED = 1, /* pods of this node and of others; has all kinds of frontends */
	VIP_REMOTE = 2,
	VIP_STICKY = 3, /* as mixed, with affinity */
	VIP_REFUSED = 4,
	VIP_DROPPED = 5,
	VIP_UNUSED = 200, /* of the range, and no Service's */
};

struct links {
	__u32 up, over, pod;
};

extern struct links links;
extern struct xdp_bpf *world_xdp;

/* Makes the namespace, loads the programs with this way of forwarding, fills the maps. */
int world_open(enum forwarding forwarding);

/* Forgets all flows: as new. */
void world_forget(void);

/* No next hop answers here: without this senders would hear of that after a few seconds. */
void world_forget_searches(void);

struct peer world_peer(enum ip_family family, enum net net, __u8 host, __u16 port);

/* A pod that backs services, 1 to LOCAL_PODS + REMOTE_PODS; those of this node come first. */
struct peer world_pod(enum ip_family family, unsigned number);
bool pod_is_local(const struct ip_addr *addr);

/* True for frontends, backends, nodes and unused addresses of the service range. */
bool world_knows(const struct ip_addr *addr);
bool world_has_backend(const struct ip_addr *addr);
bool world_has_node(const struct ip_addr *addr); /* this one or the other */
bool world_has_client(const struct ip_addr *addr);
