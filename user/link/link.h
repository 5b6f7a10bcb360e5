/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Links: found and followed through rtnetlink, given a role by written rules, and hooked. The
 * node's addresses are read here too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"

/* What rtnetlink says of a link: all that the rules look at. */
struct link_facts {
	int ifindex;
	char name[LINK_NAME_SIZE];
	char kind[LINK_NAME_SIZE];       /* IFLA_INFO_KIND, "" where there is none */
	char slave_kind[LINK_NAME_SIZE]; /* IFLA_INFO_SLAVE_KIND: "bridge", "bond", ... */
	uint16_t type;                   /* ARPHRD_* */
	uint32_t flags;                  /* IFF_* */
	int master;                      /* ifindex, 0: none */
	int lower;              /* IFLA_LINK: ifindex in this or the peer's namespace, 0: none */
	int peer_netns;         /* IFLA_LINK_NETNSID; -1: the lower link is in this namespace */
	uint8_t mac[6];         /* IFLA_ADDRESS; zero where it is no Ethernet address */
	bool is_hardware;       /* a device of some bus is behind it: IFLA_PARENT_DEV_NAME */
	bool has_gateway_route; /* a route of the main table has its next hop here */
};

/* Globs (fnmatch) that override the rules, each a comma-separated list or NULL. */
struct link_overrides {
	const char *pod;
	const char *uplink;
	const char *overlay;
	const char *ignore;
};

/*
 * Which links have near clients behind them: with `bridge` its ports, with `name_prefix` those
 * whose name, or whose master's, begins so; else those with role pod.
 */
struct link_near {
	const char *bridge;
	const char *name_prefix;
};

/* `master` is the name of the link it is a member of, or NULL. Pure. */
bool link_is_near(const struct link_near *near, const struct link_facts *facts, enum link_role role,
		  const char *master);

#define LINK_WHY_SIZE sizeof(((struct link_info *)0)->why)

/*
 * Decides a link's role; writes the rule that decided, in words, into `why`. Pure.
 */
enum link_role link_role_decide(const struct link_facts *facts,
				const struct link_overrides *overrides, char why[LINK_WHY_SIZE]);

/*
 * It is a port: something above it (a bridge, Open vSwitch) takes frames from it before the stack
 * does, also those that are not to its own address. Pure.
 */
bool link_is_port(const struct link_facts *facts);

/* Its packets begin with the IP header. */
bool link_is_layer3(const struct link_facts *facts);

/* The programs to attach, by file descriptor. */
struct link_programs {
	int ingress, egress;
};

/*
 * Gives the programs for links without a link-layer header, or with one. The descriptors are
 * borrowed. Returns 0 or a negative errno.
 */
typedef int (*link_programs_fn)(bool is_layer3, struct link_programs *ret_programs, void *context);

/* Gives the XDP program, borrowed. Returns 0 or a negative errno. */
typedef int (*link_xdp_program_fn)(int *ret_program, void *context);

/* Which uplinks get XDP, and in which mode. */
enum xdp_mode {
	XDP_MODE_AUTO,   /* native, where hardware is behind the link */
	XDP_MODE_NATIVE, /* on any link whose driver takes it */
	XDP_MODE_GENERIC,
	XDP_MODE_OFF,
};

struct link_options {
	struct link_overrides overrides;
	struct link_near near;
	link_programs_fn programs;
	link_xdp_program_fn xdp_program;
	void *programs_context;
	const char *pin_dir; /* links are pinned here, as link_<ifindex>_<ingress|egress|xdp> */
	int links_map;       /* `links`; borrowed, as is the next */
	int sources_map;     /* `link_sources` */
	int targets_map;     /* `redirect_targets` */
	int xdp_links_map;   /* `xdp_links` */
	enum xdp_mode xdp_mode;
	bool attach;       /* false: TC hooks are switched off, links are only recorded */
	bool force_clsact; /* for tests: as on kernels without tcx */
};

struct link_events {
	/* The set of addresses assigned to links of the node has changed. */
	void (*addresses_changed)(void *context);
	/* A link was decided, hooked or lost: what link_watch_degraded() says may be new. Or NULL.
	 */
	void (*links_changed)(void *context);
	void *context;
};

struct link_watch;

/*
 * Reads all links and addresses, attaches what the rules say (replacing programs of an earlier run
 * in place, under traffic), and follows changes in the loop. Logs. Returns 0 or a negative errno.
 */
int link_watch_open(uv_loop_t *loop, const struct link_options *options,
		    const struct link_events *events, struct link_watch **ret_watch);

/* A hook of a link was lost: "TC" or "XDP". */
typedef void (*link_lost_fn)(const char *link, const char *hook, void *context);

/*
 * Looks whether every hook is still there. What somebody else has removed or replaced is attached
 * again, and told of by `lost` with the link's name, after a line in the log; links whose hook
 * could not be attached are tried again.
 */
void link_watch_check(struct link_watch *watch, link_lost_fn lost, void *context);

/* Stops watching; what is attached stays. The loop's next turn frees the watch. NULL is fine. */
void link_watch_close(struct link_watch *watch);

/* The addresses assigned to links now, each once and sorted, of whatever scope; 127/8, ::1 and
 * fe80::/10 are left out. Borrowed until the next change. */
const struct ip_addr *link_watch_addresses(const struct link_watch *watch, size_t *ret_count);

/* The link that `addr` is assigned to, or NULL. Borrowed until the next change. */
const char *link_watch_owner(const struct link_watch *watch, const struct ip_addr *addr);

/* The node's address for source NAT: global scope, of the uplink with the default route where there
 * is one, else the lowest ifindex. All zero where the node has none of that family. */
struct ip_addr link_watch_node_address(const struct link_watch *watch, enum ip_family family);

/* enum degraded bits that the links' state gives: hooks switched off, no tcx, a link that failed.
 */
uint32_t link_watch_degraded(const struct link_watch *watch);

/*
 * Removes every hook of ours from every link of this namespace: pinned tcx and XDP links below
 * `pin_dir`, and clsact filters with our priority and handle whose program name is ours. Others'
 * are not touched; a clsact qdisc is removed only if we made it and nobody else has a filter on it.
 * Logs.
 */
int link_detach_all(const char *pin_dir);
