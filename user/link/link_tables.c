/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state learned from rtnetlink. A wake-up reads all pending messages into these tables and
 * marks the links they concern; then each marked link is reconciled once: its role is decided, it
 * is hooked and written to `links`. So a burst of new pods costs one attach per link, and nothing
 * is read twice.
 *
 * Messages are incomplete. What they leave out is read once per wake-up:
 * - one end of a pair, after the other end was created, moved or removed: that link is read again;
 * - routes that disappeared together with an address or with a link going down: the routes are read
 *   again, but only if a rule depends on them (a pair with a gateway, the default route);
 * - anything, after the kernel had to drop messages: everything is read again.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "link/hooks/tcx.h"
#include "link/hooks/xdp.h"
#include "link/link_watch_internal.h"

struct watched_link *link_find(const struct link_watch *watch, int ifindex)
{
	struct watched_link *link;

	HASH_FIND_INT(watch->links, &ifindex, link);
	return link;
}

bool link_is_managed(const struct watched_link *link)
{
	return link->info.role != LINK_IGNORED;
}

static bool link_has_routes(const struct link_watch *watch, const struct watched_link *link)
{
	return link->facts.has_gateway_route || link->facts.has_default_route ||
	       link->facts.ifindex == watch->default4.ifindex ||
	       link->facts.ifindex == watch->default6.ifindex;
}

/* The message covers one end of a pair: have the other end read again. */
static void peer_mark_stale(const struct link_watch *watch, const struct link_facts *facts)
{
	struct watched_link *peer;

	if (!facts->lower || facts->peer_netns >= 0)
		return;
	peer = link_find(watch, facts->lower);
	if (peer && link_is_pair(&peer->facts))
		peer->is_stale = true;
}

static void link_remove(struct link_watch *watch, struct watched_link *link)
{
	const int tcx_err = tcx_detach(watch->options.pin_dir, link->facts.ifindex);
	const int xdp_err = xdp_detach(&watch->hooks, link->facts.ifindex);
	const int err = tcx_err ? tcx_err : xdp_err;

	if (err)
		(void)log_err(err, "cannot remove the pins of the link %s, continuing",
			      link->info.name);
	link_maps_remove(watch, link);
	if (link_is_managed(link))
		log_info("link %s: gone", link->info.name);
	if (link_is_pair(&link->facts))
		peer_mark_stale(watch, &link->facts);
	if (link_has_routes(watch, link))
		watch->routes_dirty = true;
	address_table_remove_link(&watch->addresses, link->facts.ifindex);
	watch->addresses_dirty = true;
	watch->links_changed = true;
	HASH_DEL(watch->links, link);
	free(link);
}

/* The ports' entries contain the bridge's MAC address, so they must be written again. */
static void ports_mark_changed(const struct link_watch *watch, int bridge)
{
	struct watched_link *port, *next;

	HASH_ITER (hh, watch->links, port, next) {
		if (port->facts.master == bridge)
			port->is_changed = true;
	}
}

/* A new link starts with the hook state that an earlier run left for a link of the same name. */
static struct watched_link *link_new(struct link_watch *watch, const struct link_facts *facts)
{
	struct watched_link *link = calloc(1, sizeof(*link));
	const __u32 key = (__u32)facts->ifindex;
	struct link_info info;
	bool no_memory = false;

	if (!link)
		return NULL;
	link->facts = *facts;
	if (!bpf_map_lookup_elem(watch->options.links_map, &key, &info) &&
	    !strncmp(info.name, facts->name, sizeof(info.name))) {
		link->info.hook = info.hook;
		link->info.made_clsact = info.made_clsact;
	}
	HASH_ADD_INT(watch->links, facts.ifindex, link);
	if (no_memory)
		free(take_ptr(link));
	return link;
}

/*
 * Stores the facts from a notification or a dump; does not mark what they leave open. Returns NULL
 * if memory is short.
 */
static struct watched_link *link_store(struct link_watch *watch, const struct link_facts *facts)
{
	struct watched_link *link = link_find(watch, facts->ifindex);
	const bool is_new = !link;

	if (is_new)
		link = link_new(watch, facts);
	if (!link) {
		(void)log_err(-ENOMEM, "link %s: cannot store it, it is not managed", facts->name);
		return NULL;
	}
	if (is_new || memcmp(link->facts.mac, facts->mac, sizeof(facts->mac)) != 0)
		ports_mark_changed(watch, facts->ifindex);
	if (!is_new) {
		const bool has_gateway_route = link->facts.has_gateway_route;
		const bool has_default_route = link->facts.has_default_route;

		if ((link->facts.flags & IFF_UP) && !(facts->flags & IFF_UP) &&
		    link_has_routes(watch, link))
			watch->routes_dirty = true;
		link->facts = *facts;
		link->facts.has_gateway_route = has_gateway_route;
		link->facts.has_default_route = has_default_route;
	}
	link->is_changed = true;
	link->generation = watch->generation;
	return link;
}

static void dumped_link(void *context, const struct link_facts *facts)
{
	(void)link_store(context, facts);
}

static void notified_link(void *context, const struct link_facts *facts)
{
	struct link_watch *watch = context;
	struct watched_link *link = link_store(watch, facts);
	const struct watched_link *peer;

	if (!link || !link_is_pair(&link->facts))
		return;
	/* A pair is announced one end at a time: the first end before its peer is known. */
	if (!facts->lower)
		link->is_stale = true;
	peer = facts->peer_netns < 0 ? link_find(watch, facts->lower) : NULL;
	if (peer && (peer->facts.lower != facts->ifindex || peer->facts.peer_netns >= 0))
		peer_mark_stale(watch, facts);
}

static void notified_link_gone(void *context, int ifindex)
{
	struct link_watch *watch = context;
	struct watched_link *link = link_find(watch, ifindex);

	if (link)
		link_remove(watch, link);
}

/* Whether a pair is a pod's may depend on the addresses that the node has on it. */
static void address_mark_changed(struct link_watch *watch, struct watched_link *link)
{
	watch->addresses_dirty = true;
	if (link && link_is_pair(&link->facts))
		link->is_changed = true;
}

static void address_store(void *context, const struct link_address *address)
{
	struct link_watch *watch = context;
	int err = address_table_add(&watch->addresses, address);

	if (err)
		(void)log_err(err, "cannot store an address of the node");
	address_mark_changed(watch, link_find(watch, address->ifindex));
}

static void notified_address_gone(void *context, const struct link_address *address)
{
	struct link_watch *watch = context;
	struct watched_link *link = link_find(watch, address->ifindex);

	address_table_remove(&watch->addresses, address);
	address_mark_changed(watch, link);
	if (link && link_has_routes(watch, link))
		watch->routes_dirty = true;
}

static void dumped_route(void *context, const struct route_hop *hop)
{
	struct link_watch *watch = context;
	struct default_route *best =
		hop->family == FAMILY_IPV4 ? &watch->default4 : &watch->default6;
	struct watched_link *link = link_find(watch, hop->ifindex);

	if (link) {
		link->has_gateway |= hop->has_gateway;
		link->has_default |= hop->is_default;
	}
	if (hop->is_default && (!best->ifindex || hop->metric < best->metric))
		*best = (struct default_route){.ifindex = hop->ifindex, .metric = hop->metric};
}

/*
 * Whether a rule depends on this route. Most routes do not matter: a node has as many as it has
 * pods.
 */
static bool route_matters(const struct link_watch *watch, const struct route_hop *hop, bool is_gone)
{
	const struct watched_link *link = link_find(watch, hop->ifindex);

	if (hop->is_default)
		return true;
	return link && link_is_pair(&link->facts) && hop->has_gateway &&
	       link->facts.has_gateway_route == is_gone;
}

static void notified_route(void *context, const struct route_hop *hop)
{
	struct link_watch *watch = context;

	if (route_matters(watch, hop, false) || hop->is_replacement)
		watch->routes_dirty = true;
}

static void notified_route_gone(void *context, const struct route_hop *hop)
{
	struct link_watch *watch = context;

	if (route_matters(watch, hop, true))
		watch->routes_dirty = true;
}

struct netlink_events link_tables_events(struct link_watch *watch)
{
	return (struct netlink_events){
		.link = notified_link,
		.link_gone = notified_link_gone,
		.address = address_store,
		.address_gone = notified_address_gone,
		.route = notified_route,
		.route_gone = notified_route_gone,
		.context = watch,
	};
}

/* A dump never reports that something is gone. */
static struct netlink_events dumped_events(struct link_watch *watch)
{
	return (struct netlink_events){
		.link = dumped_link,
		.address = address_store,
		.route = dumped_route,
		.context = watch,
	};
}

void link_tables_read_routes(struct link_watch *watch)
{
	const struct netlink_events events = dumped_events(watch);
	const struct default_route old4 = watch->default4, old6 = watch->default6;
	struct watched_link *link, *next;
	int err;

	HASH_ITER (hh, watch->links, link, next)
		link->has_gateway = link->has_default = false;
	watch->default4 = (struct default_route){};
	watch->default6 = (struct default_route){};
	err = netlink_dump(RTM_GETROUTE, &events);
	if (err) {
		watch->default4 = old4;
		watch->default6 = old6;
		(void)log_err(err, "cannot read the routes, trying again with the next change");
		return;
	}
	HASH_ITER (hh, watch->links, link, next) {
		if (link->has_gateway == link->facts.has_gateway_route &&
		    link->has_default == link->facts.has_default_route)
			continue;
		link->facts.has_gateway_route = link->has_gateway;
		link->facts.has_default_route = link->has_default;
		link->is_changed = true;
	}
	if (old4.ifindex != watch->default4.ifindex || old6.ifindex != watch->default6.ifindex)
		watch->addresses_dirty = true;
	watch->routes_dirty = false;
}

int link_tables_read_all(struct link_watch *watch)
{
	const struct netlink_events events = dumped_events(watch);
	struct watched_link *link, *next;
	int err;

	watch->generation++;
	err = netlink_dump(RTM_GETLINK, &events);
	if (err)
		return log_err(err, "cannot read the links of this namespace");
	HASH_ITER (hh, watch->links, link, next) {
		if (link->generation != watch->generation)
			link_remove(watch, link);
	}
	address_table_dump_begin(&watch->addresses);
	err = netlink_dump(RTM_GETADDR, &events);
	if (err)
		return log_err(err, "cannot read the addresses of this namespace");
	address_table_dump_end(&watch->addresses);
	watch->addresses_dirty = true;
	watch->routes_dirty = true;
	watch->messages_lost = false;
	return 0;
}

void link_tables_read_link(struct link_watch *watch, struct watched_link *link)
{
	const struct netlink_events events = dumped_events(watch);
	int err;

	link->is_stale = false;
	err = netlink_get_link(link->facts.ifindex, &events);
	/* ENODEV: the notification of its removal is on its way. */
	if (err && err != -ENODEV)
		(void)log_err(err, "link %s: cannot read it again, continuing", link->facts.name);
}
