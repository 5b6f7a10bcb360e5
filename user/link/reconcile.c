/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "link/hooks/xdp.h"
#include "link/link_watch_internal.h"
#include "words/words.h"

#define RP_FILTER_STRICT 1 /* of RFC 3704; 2 is loose */

static void link_log(const struct watched_link *link, bool was_managed)
{
	const struct link_info *info = &link->info;

	if (info->hook == LINK_HOOK_FAILED)
		(void)log_err(
			info->err,
			"link %s: %s (%s), but the hooks cannot be attached: clients behind it "
			"reach Services only by the socket hooks",
			info->name, link_role_word(info->role), info->why);
	else if (was_managed || link_is_managed(link))
		log_info("link %s: %s (%s), %s%s%s", info->name, link_role_word(info->role),
			 info->why,
			 info->hook == LINK_HOOK_NONE ? "no hooks" : link_hook_word(info->hook),
			 link_has_xdp(info) ? " and XDP, " : "",
			 link_has_xdp(info) ? link_xdp_word(info->xdp) : "");
	else
		log_debug("link %s: ignored (%s)", info->name, info->why);
}

static void doubt_log(const struct link_info *info)
{
	if (info->doubt)
		log_warning("link %s is taken for a pod's, but %s: if it leads off the node, its "
			    "clients get no answer from backends on other nodes until it is named "
			    "with --links-uplink; --links-pod says that it is a pod's",
			    info->name, link_doubt_sentence(info->doubt));
	else
		log_info("link %s: its role is no longer in doubt", info->name);
}

/* What the link's rp_filter says; 0 if it cannot be read. */
static int rp_filter_read(const char *name)
{
	auto_cleanup(cleanup_file) FILE *file = NULL;
	char path[64];
	int value;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", name);
	file = fopen(path, "re");
	return file && fscanf(file, "%d", &value) == 1 ? value : 0;
}

/*
 * With direct server return other nodes may encapsulate a client's packet to this node by an
 * overlay. Within is the client's address, and no route leads to that by the overlay: the strict
 * filter drops it. The kernel takes the larger of the two settings.
 */
static void rp_filter_check(struct link_watch *watch, struct watched_link *link)
{
	const char *name = link->info.name;
	bool is_strict = false;

	if (watch->options.with_dsr && link->info.role == LINK_OVERLAY) {
		const int own = rp_filter_read(name), all = rp_filter_read("all");

		is_strict = (own > all ? own : all) == RP_FILTER_STRICT;
	}
	if (is_strict == link->info.is_strict)
		return;
	link->info.is_strict = is_strict;
	link_maps_write_info(watch, link, &link->info);
	watch->links_changed = true;
	if (is_strict)
		log_warning("link %s: the reverse path filter is strict and drops what other nodes "
			    "send through it with direct server return: write 2 to "
			    "/proc/sys/net/ipv4/conf/%s/rp_filter",
			    name, name);
	else
		log_info("link %s: the reverse path filter drops nothing of direct server return "
			 "any more",
			 name);
}

static void xdp_log(const struct link_watch *watch, const struct link_info *info)
{
	const bool is_wanted = watch->options.xdp_mode == XDP_MODE_NATIVE ||
			       watch->options.xdp_mode == XDP_MODE_GENERIC;
	const char *why = link_xdp_reason(info->xdp);

	if (info->xdp < LINK_XDP_OTHER)
		return;
	log_write(is_wanted ? LOG_WARNING : LOG_INFO, "link %s: no XDP, TC does the work: %s%s%s",
		  info->name, why, info->xdp_err ? ": " : "",
		  info->xdp_err ? strerror(-info->xdp_err) : "");
}

/* Attaches or detaches the TC hooks as the role requires. Returns false if the link is gone. */
static bool link_sync_hooks(struct link_watch *watch, const struct watched_link *link,
			    struct link_info *info)
{
	const bool is_wanted = watch->options.attach && info->role != LINK_IGNORED;
	const bool is_hooked = info->hook == LINK_HOOK_TCX || info->hook == LINK_HOOK_CLSACT;
	int err = 0;

	if (is_wanted && is_hooked && link->was_reconciled &&
	    info->is_layer3 == link->info.is_layer3)
		return true;
	if (is_wanted)
		return hook_attach(&watch->hooks, link->facts.ifindex, info) != -ENODEV;
	if (info->hook != LINK_HOOK_NONE)
		err = hook_detach(&watch->hooks, link->facts.ifindex, info);
	if (err && err != -ENODEV)
		(void)log_err(err, "link %s: cannot remove its hooks, continuing", info->name);
	return err != -ENODEV;
}

/* XDP needs our TC hooks on the same link: XDP_PASS relies on them. */
static void link_sync_xdp(struct link_watch *watch, struct watched_link *link,
			  struct link_info *info)
{
	const __u8 had = info->xdp;

	if (!watch->options.attach)
		return;
	if (link->was_reconciled && !link->retries_xdp && had >= LINK_XDP_OTHER &&
	    info->role == link->info.role && info->hook == link->info.hook)
		return;
	if (link->retries_xdp)
		xdp_check_targets(&watch->hooks, &link->facts, info);
	link->retries_xdp = false;
	xdp_sync(&watch->hooks, &link->facts, !link->was_reconciled, info);
	if (info->xdp != had)
		xdp_log(watch, info);
}

static const char *master_name(const struct link_watch *watch, const struct watched_link *link)
{
	const struct watched_link *master =
		link->facts.master ? link_find(watch, link->facts.master) : NULL;

	return master ? master->facts.name : NULL;
}

/* Sets the destination MAC address of frames that arrive on the link for the node itself. */
static void link_set_mac(const struct link_watch *watch, const struct watched_link *link,
			 struct link_info *info)
{
	const struct watched_link *bridge;

	memcpy(info->mac, link->facts.mac, sizeof(info->mac));
	if (!link_is_port(&link->facts))
		return;
	info->bridge = (__u32)link->facts.master;
	bridge = link_find(watch, link->facts.master);
	if (bridge && !strcmp(bridge->facts.kind, "bridge"))
		memcpy(info->mac, bridge->facts.mac, sizeof(info->mac));
	else
		memset(info->mac, 0, sizeof(info->mac));
}

static void link_reconcile(struct link_watch *watch, struct watched_link *link)
{
	const bool was_managed = link->was_reconciled && link_is_managed(link);
	bool is_doubt_new;
	struct link_info info = {
		.hook = link->info.hook,
		.made_clsact = link->info.made_clsact,
		.is_layer3 = link_is_layer3(&link->facts),
		.err = link->info.err,
		.xdp = link->info.xdp,
		.xdp_err = link->info.xdp_err,
		.is_strict = link->info.is_strict,
	};

	link->is_changed = false;
	memcpy(info.name, link->facts.name, sizeof(info.name));
	memcpy(info.kind, link->facts.kind, sizeof(info.kind));
	info.role = link_role_decide(&link->facts, &watch->options.overrides, info.why);
	info.is_near = link_is_near(&watch->options.near, &link->facts, info.role,
				    master_name(watch, link));
	info.doubt =
		link_pod_doubt(&link->facts, &watch->options.overrides,
			       address_table_has_network(&watch->addresses, link->facts.ifindex));
	link_set_mac(watch, link, &info);
	/* Programs look the link up in `links`, so its entry must precede their first packet. */
	if (!link->was_reconciled && info.role != LINK_IGNORED)
		link_maps_write_info(watch, link, &info);
	if (!link_sync_hooks(watch, link, &info))
		return;
	link_sync_xdp(watch, link, &info);
	if (link->was_reconciled && !memcmp(&info, &link->info, sizeof(info)))
		return;
	is_doubt_new = info.doubt != link->info.doubt;
	link->info = info;
	link->was_reconciled = true;
	watch->links_changed = true;
	link_maps_write_info(watch, link, &info);
	link_log(link, was_managed);
	if (is_doubt_new)
		doubt_log(&info);
	rp_filter_check(watch, link);
}

/* False: it has lost its hooks because it was removed, and the notification is on its way. */
static bool link_still_exists(const struct watched_link *link)
{
	return if_indextoname((unsigned int)link->facts.ifindex, (char[IF_NAMESIZE]){});
}

/*
 * Marks an uplink for another XDP attempt if it runs XDP, or lost it for a reason that may have
 * passed; reports XDP that somebody removed or replaced.
 */
static void xdp_check(struct link_watch *watch, struct watched_link *link, link_lost_fn lost,
		      void *context)
{
	if (link->info.xdp >= LINK_XDP_OTHER || link_has_xdp(&link->info)) {
		link->retries_xdp = true;
		link->is_changed = true;
	}
	if (!link_has_xdp(&link->info) ||
	    xdp_is_attached(&watch->hooks, link->facts.ifindex, &link->info) ||
	    !link_still_exists(link))
		return;
	log_warning("link %s: somebody has removed or replaced the XDP hook, attaching it again",
		    link->info.name);
	link->info.xdp = LINK_XDP_NONE;
	link->is_changed = true;
	lost(link->info.name, "XDP", context);
}

bool reconcile_mark_occupied(struct link_watch *watch)
{
	struct watched_link *link, *next;
	bool any = false;

	HASH_ITER (hh, watch->links, link, next) {
		if (link->info.hook != LINK_HOOK_FAILED || link->info.err != -EEXIST)
			continue;
		link->is_changed = true;
		any = true;
	}
	return any;
}

void reconcile_check_hooks(struct link_watch *watch, link_lost_fn lost, void *context)
{
	struct watched_link *link, *next;

	HASH_ITER (hh, watch->links, link, next) {
		const __u8 hook = link->info.hook;
		const bool is_hooked = hook == LINK_HOOK_TCX || hook == LINK_HOOK_CLSACT;

		xdp_check(watch, link, lost, context);
		rp_filter_check(watch, link);
		if (hook == LINK_HOOK_FAILED)
			link->is_changed = true;
		if (!is_hooked || hook_is_attached(&watch->hooks, link->facts.ifindex, &link->info))
			continue;
		if (!link_still_exists(link))
			continue;
		log_warning("link %s: somebody has removed or replaced the %s hook, attaching it "
			    "again",
			    link->info.name, link_hook_word(hook));
		link->info.hook = LINK_HOOK_NONE;
		link->is_changed = true;
		lost(link->info.name, "TC", context);
	}
}

/*
 * The link with the default route first, then uplinks, then the others; ties go to the lower
 * ifindex.
 */
static unsigned int address_rank(void *context, int ifindex, enum ip_family family)
{
	const struct link_watch *watch = context;
	const struct default_route *route =
		family == FAMILY_IPV4 ? &watch->default4 : &watch->default6;
	const struct watched_link *link = link_find(watch, ifindex);

	if (ifindex == route->ifindex)
		return 0;
	if (link && link->info.role == LINK_UPLINK)
		return (unsigned int)ifindex;
	return (unsigned int)ifindex + INT_MAX;
}

/* Returns whether the node's addresses have changed. */
static bool addresses_reconcile(struct link_watch *watch)
{
	const struct ip_addr old4 = watch->address4, old6 = watch->address6;
	int changed = address_table_publish(&watch->addresses);

	if (changed < 0) {
		(void)log_err(changed, "cannot store the node's new addresses");
		return false;
	}
	watch->address4 = address_table_best(&watch->addresses, FAMILY_IPV4, address_rank, watch);
	watch->address6 = address_table_best(&watch->addresses, FAMILY_IPV6, address_rank, watch);
	watch->addresses_dirty = false;
	return changed || memcmp(&old4, &watch->address4, sizeof(old4)) != 0 ||
	       memcmp(&old6, &watch->address6, sizeof(old6)) != 0;
}

/* Reads what messages have left open. */
static void stale_read(struct link_watch *watch)
{
	struct watched_link *link, *next;

	if (watch->routes_dirty)
		link_tables_read_routes(watch);
	HASH_ITER (hh, watch->links, link, next) {
		if (link->is_stale)
			link_tables_read_link(watch, link);
	}
}

void reconcile_load_programs(struct link_watch *watch)
{
	struct hooks *hooks = &watch->hooks;
	struct watched_link *link, *next;
	struct link_programs programs;
	bool has_layer3 = false;

	if (!watch->options.attach)
		return;
	stale_read(watch);
	HASH_ITER (hh, watch->links, link, next) {
		struct link_info info = {.is_layer3 = link_is_layer3(&link->facts)};

		info.role = link_role_decide(&link->facts, &watch->options.overrides, info.why);
		if (info.role == LINK_IGNORED)
			continue;
		has_layer3 |= info.is_layer3;
		xdp_prepare(hooks, &link->facts, &info);
	}
	if (has_layer3)
		(void)hooks->programs(true, &programs, hooks->programs_context);
}

bool reconcile_marked(struct link_watch *watch)
{
	struct watched_link *link, *next;
	bool addresses_changed;

	stale_read(watch);
	HASH_ITER (hh, watch->links, link, next) {
		if (link->is_changed)
			link_reconcile(watch, link);
	}
	link_maps_write_xdp(watch);
	if (watch->links_changed)
		watch->addresses_dirty = true; /* their rank depends on the links' roles */
	if (!watch->addresses_dirty)
		return false;
	addresses_changed = addresses_reconcile(watch);
	link_maps_write_sources(watch);
	return addresses_changed;
}
