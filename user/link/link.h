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

#include "fairlead/types.h"
#include "link/hooks/hook.h"
#include "link/netlink/role.h"

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
