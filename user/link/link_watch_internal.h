/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * struct link_watch and its steps: link_watch.c listens to rtnetlink, link_tables.c keeps what the
 * messages say, reconcile.c acts on it, link_maps.c writes what programs read of it.
 */

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <uv.h>

#include "base/uthash.h"
#include "link/hooks/hook.h"
#include "link/link_watch.h"
#include "link/netlink/address_table.h"
#include "link/netlink/netlink.h"

struct watched_link {
	struct link_facts facts;
	struct link_info info;     /* as it is in `links` */
	struct link_source source; /* as it is in `link_sources` */
	struct xdp_link xdp_link;  /* as it is in `xdp_links` */
	bool has_source;
	bool is_changed; /* its facts have changed: it must be reconciled */
	bool is_stale;   /* its facts may be outdated: it must be read again */
	bool was_reconciled;
	bool has_place;   /* in `xdp_links` */
	bool retries_xdp; /* XDP must be tried again */
	bool has_gateway; /* set while the routes are read, like the next */
	bool has_default;
	unsigned int generation;
	UT_hash_handle hh;
};

struct default_route {
	int ifindex; /* 0: none */
	uint32_t metric;
};

struct link_watch {
	struct link_options options;
	struct link_events events;
	struct hooks hooks;
	struct mnl_socket *socket;
	uv_poll_t poll;
	uv_timer_t retry;
	uint64_t retry_ms; /* until the next retry */
	unsigned int open_handles;
	struct watched_link *links; /* uthash, by ifindex */
	struct address_table addresses;
	struct default_route default4, default6;
	struct ip_addr address4, address6;
	unsigned int generation;
	bool links_changed;
	bool addresses_dirty;
	bool routes_dirty;
	bool messages_lost;
};

/* NULL: no such link is known. */
struct watched_link *link_find(const struct link_watch *watch, int ifindex);
bool link_is_managed(const struct watched_link *link);

/* The callbacks for notifications: they store what a message says and mark what it leaves open. */
struct netlink_events link_tables_events(struct link_watch *watch);

/* Reads all links and addresses, and marks the routes to be read. Logs. */
int link_tables_read_all(struct link_watch *watch);

/* Reads the routes: which links have a gateway, and where the default routes lead. Logs. */
void link_tables_read_routes(struct link_watch *watch);

/* Reads one link again whose facts may be outdated. Logs. */
void link_tables_read_link(struct link_watch *watch, struct watched_link *link);

/*
 * Has the programs loaded that the links will need, which takes a second: while links have programs
 * of two generations, each must be at hand. What does not load is reported where it is attached.
 */
void reconcile_load_programs(struct link_watch *watch);

/* Reconciles everything that is marked. Returns whether the node's addresses have changed. Logs. */
bool reconcile_marked(struct link_watch *watch);

/*
 * Marks the links whose hooks could not be attached because the kernel has yet to detach the same
 * programs. Returns whether there are any.
 */
bool reconcile_mark_occupied(struct link_watch *watch);

/* Marks the links that must be hooked again, and reports those that lost a hook. Logs. */
void reconcile_check_hooks(struct link_watch *watch, link_lost_fn lost, void *context);

/* Writes a link's entry of `links`. Logs. */
void link_maps_write_info(const struct link_watch *watch, const struct watched_link *link,
			  const struct link_info *info);

/* Write the changed entries of `link_sources`, and those of `xdp_links`. Log. */
void link_maps_write_sources(struct link_watch *watch);
void link_maps_write_xdp(struct link_watch *watch);

/* Removes a link from the maps. */
void link_maps_remove(const struct link_watch *watch, struct watched_link *link);

/*
 * Removes the entries of links that disappeared or were renumbered while no agent was running.
 */
void link_maps_sweep(const struct link_watch *watch);
