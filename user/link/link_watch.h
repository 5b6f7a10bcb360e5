/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Links: discovered and tracked through rtnetlink, given a role by fixed rules, and hooked. The
 * node's addresses are collected here too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fairlead/types.h"
#include "link/hooks/hook.h"
#include "link/role.h"

struct link_options {
	struct link_overrides overrides;
	struct link_near near;
	link_programs_fn programs;
	link_xdp_program_fn xdp_program;
	void *programs_context;
	const char *pin_dir; /* links are pinned here, as link_<ifindex>_<ingress|egress|xdp> */
	int links_map;       /* `links`; borrowed, like the others */
	int sources_map;     /* `link_sources` */
	int targets_map;     /* `redirect_targets` */
	int xdp_links_map;   /* `xdp_links` */
	enum xdp_mode xdp_mode;
	bool attach;       /* false: TC hooks are disabled, links are only recorded */
	bool force_clsact; /* for tests: behave as on a kernel without tcx */
	bool with_dsr;     /* direct server return: packets of clients may come by an overlay */
};

struct link_events {
	/* The set of addresses assigned to links of the node has changed. */
	void (*addresses_changed)(void *context);
	/*
	 * A link's role was decided, or a link was hooked or lost: the result of
	 * link_watch_degraded() may have changed. Or NULL.
	 */
	void (*links_changed)(void *context);
	void *context;
};

struct link_watch;

/*
 * Reads all links and addresses, and has the programs loaded that the links need; link_watch_begin
 * goes on. Logs. Returns 0 or a negative errno.
 */
int link_watch_open(uv_loop_t *loop, const struct link_options *options,
		    const struct link_events *events, struct link_watch **ret_watch);

/*
 * Attaches the hooks that the rules call for (replacing programs of an earlier run in place, under
 * traffic), and then follows changes in the loop. No hook has programs of an earlier run any more.
 * Logs. Returns 0 or a negative errno.
 */
int link_watch_begin(struct link_watch *watch);

/* Called when somebody removed or replaced a hook of `link`; `hook` is "TC" or "XDP". */
typedef void (*link_lost_fn)(const char *link, const char *hook, void *context);

/*
 * Checks that every hook is still attached. A hook that somebody else removed or replaced is
 * logged, reported to `lost` with the link's name, and attached again, if need be within a second
 * or two, when the kernel has detached the old one; links whose hook could not be attached are
 * retried.
 */
void link_watch_check(struct link_watch *watch, link_lost_fn lost, void *context);

/*
 * Stops watching; the hooks stay attached. The loop's next iteration frees the watch. NULL is fine.
 */
void link_watch_close(struct link_watch *watch);

/*
 * The addresses assigned to links now, of every scope, sorted and without duplicates; 127/8, ::1
 * and fe80::/10 are left out. Borrowed until the next change.
 */
const struct ip_addr *link_watch_addresses(const struct link_watch *watch, size_t *ret_count);

/* The name of the link that `addr` is assigned to, or NULL. Borrowed until the next change. */
const char *link_watch_owner(const struct link_watch *watch, const struct ip_addr *addr);

/*
 * The node's address for source NAT: of global scope, from the uplink with the default route if
 * there is one, else from the lowest ifindex. All zero: the node has no such address of that
 * family.
 */
struct ip_addr link_watch_node_address(const struct link_watch *watch, enum ip_family family);

/*
 * The bits of enum degraded that follow from the links' state: hooks disabled, no tcx, a link that
 * failed.
 */
uint32_t link_watch_degraded(const struct link_watch *watch);
