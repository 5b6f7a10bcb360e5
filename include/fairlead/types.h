/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The contract between the datapath (bpf/) and user space (user/): keys and values of the pinned
 * maps.
 *
 * Rules of this file: fixed-width types, every byte named, padding is zero, sizes asserted. Enums
 * that members have as their type are packed into one byte or take four, which is asserted, so they
 * are as wide everywhere; bpftool then shows names, not numbers. A map can still hold a number that
 * its enum lacks: other versions write it too.
 * Addresses and ports are in network byte order (`__be16`, bytes); everything else is in host byte
 * order. Times are whole seconds of CLOCK_MONOTONIC, unless a name says otherwise. Both sides
 * include it, so nothing is described twice.
 */

#include <linux/bpf.h>
#include <linux/types.h>

/*
 * An address of either family. IPv4 is stored mapped, ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). `ipv4` is
 * for the reader of a dump: in it bpftool shows a.b.c.d by itself.
 */
struct ip_addr {
	union {
		__u8 bytes[16];
		struct {
			__u8 mapped[12];
			__u8 ipv4[4];
		};
	};
} __attribute__((aligned(4)));
_Static_assert(sizeof(struct ip_addr) == 16, "both views are of the same bytes");

/*
 * Roles of an address, as the value of `addresses` holds them. An address can have several at once.
 */
enum address_flag {
	/* A ClusterIP: ports it does not serve are refused, echo requests are answered. */
	ADDRESS_CLUSTER_IP = 1U << 0,
	/* A VIP whose Services are gone: established flows continue, all else is left alone. */
	ADDRESS_RETIRED = 1U << 1,
	/* A backend's address: packets from it may be replies of a flow. */
	ADDRESS_BACKEND = 1U << 2,
	/* Assigned to a link of this node: replies to clients on the node arrive at it. */
	ADDRESS_NODE = 1U << 3,
	/*
	 * An external or load-balancer IP: packets to a port that it does not serve are left alone
	 * (rule C48). Also a ClusterIP whose Service another proxy handles: packets to any of its
	 * ports are left alone (rule C46).
	 */
	ADDRESS_EXTERNAL = 1U << 4,
	/* An address of this node at which NodePorts are served (rules B32 to B39). */
	ADDRESS_NODE_PORTS = 1U << 5,
};

/* An address that has frontends now. One that had some before is ADDRESS_RETIRED. */
#define ADDRESS_SERVED (ADDRESS_CLUSTER_IP | ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS)
/* An address that flows may have as their VIP. */
#define ADDRESS_VIP (ADDRESS_SERVED | ADDRESS_RETIRED)

/*
 * Value of `addresses`, which holds every address whose packets need a closer look. For traffic of
 * no Service, a lookup that misses here is all that is done.
 */
struct address_info {
	__u32 flags; /* enum address_flag */
	__u32 index; /* of its entry in `address_flows`; 0: none */
};
_Static_assert(sizeof(struct address_info) == 8, "map value: every byte is named");

/*
 * How busy an address is; value of `address_flows`. The datapath writes it, user space reads it
 * through mmap. While `confirmed` and `new_until_s` rule out that a flow exists, replies from a
 * backend skip the flow tables, and user space may remove the address.
 */
struct address_flows {
	__u32 confirmed;      /* flows in `flows` that have this VIP or backend */
	__u32 new_until_s;    /* until then `new_flows` may hold flows of this address */
	__u32 direct_until_s; /* until then the address may have FLOW_DIRECT flows */
	__u32 datagram_s;     /* when a datagram last went straight to it; 0: never */
};
_Static_assert(sizeof(struct address_flows) == 16, "map value: every byte is named");

/* What a client dials; the key of `frontends`. */
struct frontend {
	struct ip_addr vip;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP */
	__u8 pad;
};
_Static_assert(sizeof(struct frontend) == 20, "map key: every byte is named");

enum frontend_kind {
	/* Of a flow that was not made for one here, or by a version that knew only ClusterIPs. */
	FRONTEND_NONE = 0,
	FRONTEND_CLUSTER_IP = 1,
	FRONTEND_NODE_PORT = 2,
	FRONTEND_EXTERNAL_IP = 3,
	FRONTEND_LOAD_BALANCER_IP = 4, /* an ingress IP; its clients may be limited to ranges */
} __attribute__((packed));
_Static_assert(sizeof(enum frontend_kind) == 1, "a member of map entries");

struct frontend_target {
	__u32 service; /* service port id: index into `services` */
	enum frontend_kind kind;
	__u8 pad[3];
};
_Static_assert(sizeof(struct frontend_target) == 8, "map value: every byte is named");

/*
 * A range of `slots`: ONE aligned 64-bit word, written with one store and read with one load, so
 * that a packet sees a list of backends before a change or after it, never a mix. The backend ids
 * in a range are ascending, so membership is a binary search.
 */
struct slot_range {
	__u32 first; /* if count is 0: enum empty_verdict */
	__u32 count;
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct slot_range) == 8, "one 64-bit word");

/* What a client gets if its list is empty (KEP-2086; kube-proxy's rules D50 and D51). */
enum empty_verdict {
	EMPTY_REJECT = 0, /* no usable endpoint anywhere */
	EMPTY_DROP = 1,   /* there are some, but none on this node, and the policy is Local */
};

enum service_flag {
	SERVICE_IN_USE = 1U << 0,
	SERVICE_INTERNAL_LOCAL = 1U << 1, /* internalTrafficPolicy: Local */
	SERVICE_EXTERNAL_LOCAL = 1U << 2, /* externalTrafficPolicy: Local */
	/* Clients of its load-balancer IPs must be in `source_ranges` (rules I107 to I115). */
	SERVICE_SOURCE_RANGES = 1U << 3,
	/* ... and the node's own address is in one of them (rule I110). */
	SERVICE_NODE_ALLOWED = 1U << 4,
	/* It has, or may have, frontends besides its ClusterIP (rule B30). For user space only. */
	SERVICE_EXTERNAL = 1U << 5,
};

/*
 * A range of addresses that may use a service port's load-balancer IPs; key of `source_ranges`, a
 * trie. The value carries no information.
 */
struct source_range {
	__u32 prefix; /* significant bits: 32 for `service` and those of the range; IPv4: 96 more */
	__be32 service;
	struct ip_addr addr;
};
_Static_assert(sizeof(struct source_range) == 24, "map key: every byte is named");

/*
 * A range of addresses of near clients: pods of this node or, if it is the whole cluster's range,
 * of any node. Key of `near_ranges`, a trie, which is used if config.near_by is NEAR_BY_RANGE.
 */
struct near_range {
	__u32 prefix; /* significant bits; IPv4: 96 more than those of the range */
	struct ip_addr addr;
};
_Static_assert(sizeof(struct near_range) == 20, "map key: every byte is named");

/*
 * The ranges that ClusterIPs are allocated from; the one value of `service_ranges`. Packets to an
 * address in them that no Service has are dropped (rule C44).
 */
#define SERVICE_RANGES_MAX 16

struct service_ranges {
	__u32 count; /* written last */
	__u32 pad;
	struct {
		struct ip_addr addr;
		struct ip_addr mask;
	} ranges[SERVICE_RANGES_MAX];
};

/*
 * Source addresses of packets that leave by a link; value of `link_sources`, keyed by ifindex. All
 * zero: no address of that family.
 */
struct link_source {
	struct ip_addr ipv4;
	struct ip_addr ipv6;
};

/* In a key of `redirect_targets`: the link sends frames back by redirection, not by XDP_TX. */
#define XDP_TARGET_BACK (1U << 31)

/*
 * The link-layer addresses of a link that runs XDP: frames to any other address are not for this
 * node. Value of `xdp_links`, at the link's ifindex modulo XDP_LINKS_MAX.
 */
struct xdp_link {
	__u32 ifindex; /* 0: the entry is free */
	__u8 mac[6];
	__u8 bridge_mac[6]; /* of the bridge that it is a port of, else its own */
};
_Static_assert(sizeof(struct xdp_link) == 16, "map value: every byte is named");

/*
 * Whose address it is, according to the cluster's Node objects; value of `cluster_nodes`.
 * Encapsulated packets are accepted from other nodes only.
 */
enum cluster_node {
	CLUSTER_NODE_OTHER = 1,
	CLUSTER_NODE_THIS = 2,
};
_Static_assert(sizeof(enum cluster_node) == 4, "a member of map entries");

/*
 * A service port: one port of one Service, with a protocol, in one family. Index 0 is never used.
 */
struct service {
	struct slot_range cluster_slots; /* the endpoints that policy Cluster may use */
	struct slot_range local_slots;   /* the endpoints on this node, for policy Local */
	__u32 affinity_timeout_s;        /* 0: no affinity */
	__u32 flags;                     /* enum service_flag */
};
_Static_assert(sizeof(struct service) == 24, "map value: every byte is named");

/* Value of `slots`. The values of an array map are at least 8 bytes apart, in its mmap too. */
struct slot {
	__u32 backend; /* index into `backends` */
	__u32 pad;
};
_Static_assert(sizeof(struct slot) == 8, "the stride of the array's mmap");

enum backend_state {
	BACKEND_FREE = 0,     /* the entry holds nothing */
	BACKEND_ACTIVE = 1,   /* may be chosen */
	BACKEND_DRAINING = 2, /* in no list, so not chosen; established TCP goes on */
	BACKEND_DEAD = 3,     /* gone: nothing may be sent to it */
} __attribute__((packed));
_Static_assert(sizeof(enum backend_state) == 1, "a member of map entries");

enum backend_flag {
	BACKEND_LOCAL = 1U << 0, /* runs on this node */
	/* Its endpoint names a Node: encapsulated packets for it are unwrapped there. */
	BACKEND_ON_NODE = 1U << 1,
	/*
	 * For operators, with BACKEND_DRAINING: it does not leave. A policy or a hint leaves it
	 * out, or it is not ready.
	 */
	BACKEND_UNUSED = 1U << 2,
};

/* Where traffic goes. Index 0 is never used. An id means one backend for each generation. */
struct backend {
	struct ip_addr addr;
	__be16 port;
	__u8 proto;
	enum backend_state state; /* written last when the entry is filled */
	__u32 generation; /* grows when the entry is given to another address; never 0 in use */
	__u32 flags;      /* enum backend_flag */
	__u32 service;    /* a service port that has it, or had it last; for operators */
};
_Static_assert(sizeof(struct backend) == 32, "map value: every byte is named");

#define NAME_SIZE 64 /* a DNS label (RFC 1123) and its terminator */

enum service_type {
	SERVICE_TYPE_CLUSTER_IP = 0,
	SERVICE_TYPE_NODE_PORT = 1,
	SERVICE_TYPE_LOAD_BALANCER = 2,
	SERVICE_TYPE_EXTERNAL_NAME = 3,
} __attribute__((packed));
_Static_assert(sizeof(enum service_type) == 1, "a member of map entries");

enum ip_family {
	FAMILY_UNSPECIFIED = 0,
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
} __attribute__((packed));
_Static_assert(sizeof(enum ip_family) == 1, "a member of map entries");

/* Identity of a service port and figures for operators; value of `service_names`. */
struct service_name {
	char namespace_[NAME_SIZE];
	char name[NAME_SIZE];
	char port_name[NAME_SIZE];
	__u8 proto;
	enum ip_family family;
	enum service_type type;
	__u8 pad;
	__u32 ready;    /* those that are ready */
	__u32 total;    /* all endpoints, each address and port once */
	__u32 draining; /* terminating ones among them */
};
_Static_assert(sizeof(struct service_name) == 208, "map value: every byte is named");

/* A Service, or one port of it, that is not programmed; key of `unprogrammed`. */
struct unprogrammed_key {
	char namespace_[NAME_SIZE];
	char name[NAME_SIZE];
	char port_name[NAME_SIZE];
	__u8 proto;            /* 0: all ports */
	enum ip_family family; /* FAMILY_UNSPECIFIED: both */
	__u8 pad[2];
};
_Static_assert(sizeof(struct unprogrammed_key) == 196, "map key: every byte is named");

/*
 * Numbers are kept in a pinned map, which other versions read: one that is no longer used is left
 * out, and not used again. 5 was a label of the Service that means nothing now.
 */
enum unprogrammed_reason {
	UNPROGRAMMED_HEADLESS = 1,      /* clusterIP: None */
	UNPROGRAMMED_EXTERNAL_NAME = 2, /* type: ExternalName */
	UNPROGRAMMED_NO_CLUSTER_IP = 3, /* detail: what to do; "": the API server will give one */
	UNPROGRAMMED_OTHER_PROXY = 4,   /* label service.kubernetes.io/service-proxy-name */
	UNPROGRAMMED_LOCAL_ADDRESS = 6, /* the ClusterIP is assigned to a link of this node */
	UNPROGRAMMED_MAP_FULL = 7,      /* detail: the map and the flag that makes it larger */
	UNPROGRAMMED_PROTOCOL = 8,      /* a protocol that is not served */
	UNPROGRAMMED_NO_PORTS = 9,
	UNPROGRAMMED_TAKEN = 10, /* another Service has its address; detail: which, and whose */
};
_Static_assert(sizeof(enum unprogrammed_reason) == 4, "a member of map entries");

struct unprogrammed {
	enum unprogrammed_reason reason;
	enum service_type type;
	__u8 pad[3];
	char detail[120]; /* what the reason is about: a link's name, a label's value, a map */
};
_Static_assert(sizeof(struct unprogrammed) == 128, "map value: every byte is named");

/* What identifies a client for session affinity. */
enum affinity_client_kind {
	AFFINITY_ADDRESS = 0, /* its source address, as packets carry it */
	AFFINITY_NETNS = 1,   /* its network namespace's cookie, in the first 8 bytes */
};
_Static_assert(sizeof(enum affinity_client_kind) == 4, "a member of map entries");

struct affinity_key {
	struct ip_addr client;
	__u32 service;
	enum affinity_client_kind client_kind;
};
_Static_assert(sizeof(struct affinity_key) == 24, "map key: every byte is named");

struct affinity {
	__u32 backend;
	__u32 generation; /* of the backend, to detect a reused id */
	__u32 last_use_s;
};
_Static_assert(sizeof(struct affinity) == 12, "map value: every byte is named");

enum flow_direction {
	FLOW_ORIGINAL = 0,
	FLOW_REPLY = 1,
} __attribute__((packed));
_Static_assert(sizeof(enum flow_direction) == 1, "a member of map entries");

/* The tuple as seen on the wire, before any rewrite; key of `flows` and `new_flows`. */
struct flow_key {
	struct ip_addr src;
	struct ip_addr dst;
	__be16 src_port;
	__be16 dst_port;
	__u8 proto;
	enum flow_direction direction;
	__u8 pad[2];
};
_Static_assert(sizeof(struct flow_key) == 40, "map key: every byte is named");

enum flow_state {
	FLOW_NEW = 0,         /* no reply seen */
	FLOW_REPLIED = 1,     /* TCP: SYN-ACK seen; UDP: a reply seen */
	FLOW_ESTABLISHED = 2, /* the client has answered the reply */
	FLOW_CLOSING = 3,     /* TCP: FIN of one side */
	FLOW_CLOSED = 4,      /* TCP: FIN of both sides, or RST */
} __attribute__((packed));
_Static_assert(sizeof(enum flow_state) == 1, "a member of map entries");

enum flow_flag {
	FLOW_FIN_ORIGINAL = 1U << 0,
	FLOW_FIN_REPLY = 1U << 1,
	/*
	 * Client and backend have the same address. The VIP replaces the client's, so that the
	 * reply comes back to us, and the packet bypasses the stack, which would drop it as a
	 * martian.
	 */
	FLOW_HAIRPIN = 1U << 2,
	/* The client is a process of this node, whose packets only the egress hook could see. */
	FLOW_LOCAL_CLIENT = 1U << 3,
	/*
	 * A far client and a backend on another node: an address of this node replaces the
	 * client's, so that the reply comes back to us. Both directions are routed at the ingress
	 * hook.
	 */
	FLOW_SOURCE_NAT = 1U << 4,
	/*
	 * A far client and a backend on another node, with direct server return: the client's
	 * packets are encapsulated and sent to the backend's node, and replies bypass this node.
	 * There is no reply half.
	 */
	FLOW_DSR = 1U << 5,
	/* The other end of FLOW_DSR: another node chose the backend, which is on this one. */
	FLOW_DSR_RECEIVED = 1U << 6,
	/*
	 * Not a flow of a Service: the client talks to the backend directly, from a port that one
	 * of its Service flows already uses there. Only the source port is translated.
	 */
	FLOW_DIRECT = 1U << 7,
};

/*
 * Ports of this node's addresses that have ever been NodePorts or ports of another frontend:
 * packets to its other ports skip the flow tables. The one value of `node_ports`.
 */
struct node_ports {
	__u8 used[65536]; /* by port, host order */
};

/* How often flows of a service port found no free source port; value of `exhausted`. */
struct exhausted {
	__u64 count;
	__u32 last_s;
	__u32 pad;
};
_Static_assert(sizeof(struct exhausted) == 16, "map value: every byte is named");

/*
 * One direction of a flow, called a half: the whole rewrite and the state. Each half can be rebuilt
 * from the other: the reply key is the rewritten original tuple reversed, and vice versa.
 *
 * A half also holds what tells its sender's packets from a stranger's: for TCP, the numbers sent
 * and acknowledged; for SCTP, the verification tags (RFC 9260, 8.5).
 */
struct flow {
	/*
	 * Checksum of the key (flow_check_of in bpf/flow/flow.h). It is the first field because it
	 * is written first: a reader that finds it unchanged after reading the rest has read one
	 * flow, not the beginning of the next one in this entry.
	 */
	__u16 check;
	enum flow_state state;
	__u8 flags; /* enum flow_flag */
	struct ip_addr new_src;
	struct ip_addr new_dst;
	__be16 new_src_port;
	__be16 new_dst_port;
	__u32 slot; /* index into `slots` where the backend was found; looked at first */
	__u32 last_use_s;
	__u32 backend;
	__u32 generation;
	__u32 service;
	__u32 ifindex; /* link its first packet arrived on or, FLOW_LOCAL_CLIENT, left by */
	union {
		/*
		 * TCP: sequence number after the last byte sent. 0: not known, yet or (a fast
		 * connection whose flow was copied to a larger table) any more.
		 */
		__u32 sent;
		__be32 tag; /* SCTP: verification tag of this direction; network byte order */
	};
	union {
		__u32 acked;     /* TCP: last acknowledgment sent, the next number expected */
		__be32 peer_tag; /* SCTP: verification tag of the other direction */
	};
	__u8 mac[6]; /* FLOW_LOCAL_CLIENT: that link's MAC address; zero if it has none */
	/* These two tell again which list the backend is from: what was dialled, and by whom. */
	enum frontend_kind kind;
	__u8 is_near;          /* the client is a pod of this node, or the node itself */
} __attribute__((aligned(8))); /* it is copied often */
_Static_assert(sizeof(struct flow) == 80, "map value: every byte is named");

/* Ports of a fragmented packet, learned from its first fragment; key and value of `fragments`. */
struct fragment_key {
	struct ip_addr src;
	struct ip_addr dst;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "map key: every byte is named");

struct fragment_ports {
	__be16 src_port;
	__be16 dst_port;
};

/* What a connected socket dialled and where it really went; value of `socket_state`. */
struct socket_state {
	struct ip_addr frontend_addr;
	struct ip_addr backend_addr;
	__be16 frontend_port;
	__be16 backend_port;
	__u32 backend;
	__u32 generation;
	__u32 service;
	__u32 slot;     /* as in struct flow */
	__u32 last_use; /* in datagram_state: `uses` at its last use */
};
_Static_assert(sizeof(struct socket_state) == 56, "storage: every byte is named");

/*
 * Frontends that an unconnected UDP socket remembers in its own storage. When that is full, the one
 * unused longest moves to `datagram_others`.
 */
#define DATAGRAM_FRONTENDS_MAX 8

struct datagram_state {
	struct socket_state frontends[DATAGRAM_FRONTENDS_MAX];
	__u32 uses; /* so far */
};

enum datagram_role {
	DATAGRAM_FRONTEND = 1, /* the socket sends to it */
	DATAGRAM_BACKEND = 2,  /* the socket receives from it */
} __attribute__((packed));
_Static_assert(sizeof(enum datagram_role) == 1, "a member of map entries");

/* Key of `datagram_others`; its values are struct socket_state, as in the sockets' own storage. */
struct datagram_key {
	__u64 cookie; /* of the socket */
	struct ip_addr addr;
	__be16 port;
	enum datagram_role role;
	__u8 pad[5];
};
_Static_assert(sizeof(struct datagram_key) == 32, "map key: every byte is named");

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct service_stats {
	__u64 connections;
	__u64 packets;
	__u64 bytes;
};

#define PROCESS_NAME_SIZE 16 /* TASK_COMM_LEN */

/* Message of `bind_attempts`: a process tried to bind a NodePort and was refused. */
struct bind_attempt {
	struct frontend wanted; /* the unspecified address: all addresses */
	__u32 service;
	__u32 pid;
	char process[PROCESS_NAME_SIZE];
};
_Static_assert(sizeof(struct bind_attempt) == 44, "message: every byte is named");

/* What follows is used by programs alone; user space needs only its size. */

/*
 * What packets change in a half, in short: tells whether a half has changed since it was copied to
 * a larger table (flow_mark_of in fairlead/flow_mark.h).
 */
struct flow_mark {
	enum flow_state state; /* FLOW_NEW: it is no copy, for confirmed flows have been answered */
	__u8 flags;
	__u16 numbers; /* a hash of `sent` and `acked` */
};

/* Value of `flows`. */
struct confirmed_flow {
	struct flow flow;
	__u32 ticket;            /* original direction: that of its entry in `flow_checks` */
	struct flow_mark copied; /* what it was when it was copied from a smaller table */
};
_Static_assert(sizeof(struct confirmed_flow) == 88, "map value: every byte is named");

/* An entry of `flow_checks`. */
struct flow_check {
	struct flow_key key; /* of the original direction */
	__u32 ticket;
	__u32 due_s;
};

struct flow_sweeper {
	struct bpf_timer timer;
	__u32 has_timer; /* 0: no timer runs, so each newly confirmed flow checks others */
	__u32 waiting;   /* entries of `flow_checks` */
};

/* Value of `flow_renewals`, by the original tuple of a flow whose client opens it anew. */
struct flow_renewal {
	__u32 sent;     /* TCP: sequence number after the SYN; SCTP: initiate tag of the INIT */
	__u32 answered; /* SCTP: initiate tag of the INIT ACK */
};

struct tuple_lock {
	struct bpf_spin_lock lock;
	__u32 is_held;
	__u32 moved;      /* hash of the tuple that last moved from `new_flows` to `flows` */
	__u32 datagram_s; /* when a datagram last went straight to a backend; 0: never */
};

/* A next hop: key of `neighbour_searches`. */
struct neighbour {
	struct bpf_redir_neigh next_hop;
	__u32 ifindex;
};

struct neighbour_search {
	__u64 begun_ms;
	__u64 asked_ms;     /* when a packet was last sent, which makes the kernel resolve */
	__u64 seen_ms;      /* when a packet last needed this next hop */
	__u64 was_notified; /* the last packet was dropped, and its sender notified */
};
