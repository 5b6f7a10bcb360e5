/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What the agent publishes in pinned maps for operators. Only user space writes it; programs read
 * struct link_info alone.
 */

#include <linux/types.h>

#include "fairlead/config.h"

#define LINK_NAME_SIZE 16 /* IFNAMSIZ */

enum link_role {
	LINK_IGNORED = 0,
	LINK_POD = 1,
	LINK_UPLINK = 2,
	LINK_OVERLAY = 3,
} __attribute__((packed));
_Static_assert(sizeof(enum link_role) == 1, "a member of map entries");

enum link_hook {
	LINK_HOOK_NONE = 0,
	LINK_HOOK_TCX = 1,
	LINK_HOOK_CLSACT = 2,
	LINK_HOOK_FAILED = 3,
} __attribute__((packed));
_Static_assert(sizeof(enum link_hook) == 1, "a member of map entries");

/* How XDP runs on a link, or why it does not. */
enum link_xdp {
	LINK_XDP_NONE = 0, /* not an uplink, or has no TC hook */
	LINK_XDP_NATIVE = 1,
	LINK_XDP_GENERIC = 2,
	LINK_XDP_OFF = 3,        /* switched off */
	LINK_XDP_VIRTUAL = 4,    /* no hardware: --xdp=auto leaves it to TC */
	LINK_XDP_OTHER = 5,      /* another program is attached */
	LINK_XDP_FAILED = 6,     /* the driver refused the program: xdp_err */
	LINK_XDP_NO_PROGRAM = 7, /* the kernel refused to load the program */
	LINK_XDP_NO_PEER = 8,    /* frames sent out would be lost: its peer accepts none */
} __attribute__((packed));
_Static_assert(sizeof(enum link_xdp) == 1, "a member of map entries");

/* Why a link that the rules take for a pod's may lead off the node all the same. */
enum link_doubt {
	LINK_DOUBT_NONE = 0,
	LINK_DOUBT_NETWORK = 1,       /* the node has an address on it, among others' */
	LINK_DOUBT_DEFAULT_ROUTE = 2, /* a default route leads to it */
} __attribute__((packed));
_Static_assert(sizeof(enum link_doubt) == 1, "a member of map entries");

/* Value of `links`, keyed by ifindex: what the agent decided for a link, and why. */
struct link_info {
	char name[LINK_NAME_SIZE];
	char kind[LINK_NAME_SIZE]; /* IFLA_INFO_KIND: veth, bridge, vxlan; "" for physical */
	enum link_role role;
	enum link_hook hook;
	__u8 is_layer3;   /* no link-layer header: tun, wireguard, ipip */
	__u8 made_clsact; /* we created the clsact qdisc, so we remove it */
	__s32 err;        /* LINK_HOOK_FAILED: negative errno of the attempt */
	__u8 is_near;     /* clients behind it are near: pods of this node */
	enum link_xdp xdp;
	__s16 xdp_err; /* LINK_XDP_FAILED: negative errno of the attempt */
	__u32 bridge;  /* ifindex of the bridge it is a port of; 0: none */
	/*
	 * Frames to this address are for the node: the link's own, or that of the bridge it is a
	 * port of; zero where that is not known (Open vSwitch).
	 */
	__u8 mac[6];
	enum link_doubt doubt;
	__u8 is_strict; /* an overlay whose reverse path filter drops what peers send by it */
	char why[72];   /* the rule that decided, in words */
};
_Static_assert(sizeof(struct link_info) == 128, "map value: every byte is named");

enum degraded {
	DEGRADED_NO_TCX = 1U << 0,
	DEGRADED_NO_RETVAL = 1U << 1,
	DEGRADED_NO_TIMER = 1U << 2,
	DEGRADED_NO_SOCKET_HOOKS = 1U << 3,   /* switched off or not attachable */
	DEGRADED_NO_TC_HOOKS = 1U << 4,       /* switched off */
	DEGRADED_NO_SOCKET_DESTROY = 1U << 5, /* CONFIG_INET_DIAG_DESTROY is missing */
	DEGRADED_MAP_FULL = 1U << 6,          /* at least one service port did not fit */
	DEGRADED_LINK_FAILED = 1U << 7,       /* at least one managed link has no hook */
	DEGRADED_SOURCE_AWAY = 1U << 8,       /* the source cannot be reached */
	DEGRADED_NO_BIND_HOOKS = 1U << 9,     /* processes may bind NodePorts */
	DEGRADED_NO_NODE_ADDRESS = 1U << 10,  /* source NAT replaces direct server return */
	DEGRADED_NO_MTU = 1U << 11,           /* the MTU of a route to another node is unknown */
	DEGRADED_NO_NETNS_COOKIE = 1U << 12,
	DEGRADED_OTHER_INSTANCE = 1U << 13, /* hooks of another fairlead are where ours are */
	DEGRADED_CGROUP_SUBTREE = 1U << 14, /* the cgroup that was found is not the root */
	DEGRADED_FORWARD_POLICY = 1U << 15, /* netfilter drops forwarded packets by policy */
	DEGRADED_STRICT_OVERLAY = 1U << 16, /* an overlay with a strict reverse path filter */
	DEGRADED_DOUBTFUL_POD = 1U << 17,   /* a link with an enum link_doubt */
	DEGRADED_NODEPORT_RANGE = 1U << 18, /* a NodePort may be a port of the node's sockets */
};

/* The one entry of `agent_status`. Times in nanoseconds of CLOCK_MONOTONIC. */
struct agent_status {
	__u32 pid;
	__u32 degraded; /* enum degraded */
	__u64 started_ns;
	__u64 synced_ns;            /* end of the first complete publish; 0: not yet */
	__u64 last_publish_ns;      /* end of the last publish that changed something */
	__u64 last_publish_took_ns; /* from the wake-up for the change to the end */
	__u64 publishes;
	__u64 changed_service_ports; /* over all publishes */
	__u64 rejected_objects;      /* objects of the source that could not be used */
	__u64 refused_service_ports; /* service ports not published because a map was full */
	__u32 services;              /* objects in the source now */
	__u32 endpoint_slices;
	enum forwarding forwarding;
	__u8 pad[3];
	__u32 nodes; /* Node objects; all of them only with direct server return */
	char version[32];
	char source[128]; /* the folder or the server */
	char node_name[256];
	char cgroup[256];
};
_Static_assert(sizeof(struct agent_status) == 8 + 8 * 8 + 16 + 32 + 128 + 256 + 256,
	       "map value: every byte is named");
