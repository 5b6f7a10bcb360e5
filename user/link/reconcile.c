/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>

#include "link/link_watch_internal.h"
#include "link/hooks/xdp.h"
#include "base/log.h"

static const char *role_name(__u8 role)
{
	static const char *const names[] = {
		[LINK_IGNORED] = "ignored",
		[LINK_POD] = "pod",
		[LINK_UPLINK] = "uplink",
		[LINK_OVERLAY] = "overlay",
	};

	return names[role];
}

static const char *hook_name(__u8 hook)
{
	static const char *const names[] = {
		[LINK_HOOK_NONE] = "no hooks",
		[LINK_HOOK_TCX] = "tcx",
		[LINK_HOOK_CLSACT] = "clsact",
		[LINK_HOOK_FAILED] = "hooks failed",
	};

	return names[hook];
}

static void link_publish(struct link_watch *watch, const struct watched_link *link)
{
	const __u32 key = (__u32)link->facts.ifindex;

	if (bpf_map_update_elem(watch->options.links_map, &key, &link->info, BPF_ANY))
		(void)log_err(-errno, "link %s: cannot write it to the map of links, continuing",
			      link->info.name);
}

static void link_log(const struct watched_link *link, bool was_managed)
{
	const struct link_info *info = &link->info;

	if (info->hook == LINK_HOOK_FAILED)
		(void)log_err(
			info->err,
			"link %s: %s (%s), but the hooks cannot be attached: clients behind it "
			"reach Services only by the socket hooks",
			info->name, role_name(info->role), info->why);
	else if (was_managed || link_is_managed(link))
		log_info("link %s: %s (%s), %s%s%s", info->name, role_name(info->role), info->why,
			 hook_name(info->hook), link_has_xdp(info) ? " and XDP, " : "",
			 link_has_xdp(info) ? link_xdp_word(info->xdp) : "");
	else
		log_debug("link %s: ignored (%s)", info->name, info->why);
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
static bool link_hook(struct link_watch *watch, const struct watched_link *link,
		      struct link_info *info)
{
	const bool is_wanted = watch->options.attach && info->role != LINK_IGNORED;
	const bool is_hooked = info->hook == LINK_HOOK_TCX || info->hook == LINK_HOOK_CLSACT;
	int err = 0;

	if (is_wanted && is_hooked && link->is_settled && info->is_layer3 == link->info.is_layer3)
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
static void link_xdp(struct link_watch *watch, struct watched_link *link, struct link_info *info)
{
	const __u8 had = info->xdp;

	if (!watch->options.attach)
		return;
	if (link->is_settled && !link->retries_xdp && had >= LINK_XDP_OTHER &&
	    info->role == link->info.role && info->hook == link->info.hook)
		return;
	if (link->retries_xdp)
		xdp_check_targets(&watch->hooks, &link->facts, info);
	link->retries_xdp = false;
	xdp_sync(&watch->hooks, &link->facts, !link->is_settled, info);
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
static void link_address(const struct link_watch *watch, const struct watched_link *link,
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

/* Programs look the link up in `links`, so its entry must exist before their first packet. */
static void link_publish_early(struct link_watch *watch, struct watched_link *link,
			       const struct link_info *info)
{
	const struct link_info published = link->info;

	link->info = *info;
	link_publish(watch, link);
	link->info = published;
}

static void link_reconcile(struct link_watch *watch, struct watched_link *link)
{
	const bool was_managed = link->is_settled && link_is_managed(link);
	struct link_info info = {
		.hook = link->info.hook,
		.made_clsact = link->info.made_clsact,
		.is_layer3 = link_is_layer3(&link->facts),
		.err = link->info.err,
		.xdp = link->info.xdp,
		.xdp_err = link->info.xdp_err,
	};

	link->is_changed = false;
	memcpy(info.name, link->facts.name, sizeof(info.name));
	memcpy(info.kind, link->facts.kind, sizeof(info.kind));
	info.role = link_role_decide(&link->facts, &watch->options.overrides, info.why);
	info.is_near = link_is_near(&watch->options.near, &link->facts, info.role,
				    master_name(watch, link));
	link_address(watch, link, &info);
	if (!link->is_settled && info.role != LINK_IGNORED)
		link_publish_early(watch, link, &info);
	if (!link_hook(watch, link, &info))
		return;
	link_xdp(watch, link, &info);
	if (link->is_settled && !memcmp(&info, &link->info, sizeof(info)))
		return;
	link->info = info;
	link->is_settled = true;
	watch->links_changed = true;
	link_publish(watch, link);
	link_log(link, was_managed);
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
	    xdp_is_there(&watch->hooks, link->facts.ifindex, &link->info) ||
	    !if_indextoname((unsigned int)link->facts.ifindex, (char[IF_NAMESIZE]){}))
		return;
	log_warning("link %s: somebody has removed or replaced the XDP hook, attaching it again",
		    link->info.name);
	link->info.xdp = LINK_XDP_NONE;
	link->is_changed = true;
	lost(link->info.name, "XDP", context);
}

void hooks_check(struct link_watch *watch, link_lost_fn lost, void *context)
{
	struct watched_link *link, *next;

	HASH_ITER (hh, watch->links, link, next) {
		const __u8 hook = link->info.hook;
		const bool is_hooked = hook == LINK_HOOK_TCX || hook == LINK_HOOK_CLSACT;

		xdp_check(watch, link, lost, context);
		if (hook == LINK_HOOK_FAILED)
			link->is_changed = true;
		if (!is_hooked || hook_is_there(&watch->hooks, link->facts.ifindex, &link->info))
			continue;
		/*
		 * A link that is being removed has lost its hooks too; its notification is on its
		 * way.
		 */
		if (!if_indextoname((unsigned int)link->facts.ifindex, (char[IF_NAMESIZE]){}))
			continue;
		log_warning("link %s: somebody has removed or replaced the %s hook, attaching it "
			    "again",
			    link->info.name, hook_name(hook));
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
		(void)log_err(changed, "cannot take over the node's new addresses");
		return false;
	}
	watch->address4 = address_table_best(&watch->addresses, FAMILY_IPV4, address_rank, watch);
	watch->address6 = address_table_best(&watch->addresses, FAMILY_IPV6, address_rank, watch);
	watch->addresses_dirty = false;
	return changed || memcmp(&old4, &watch->address4, sizeof(old4)) != 0 ||
	       memcmp(&old6, &watch->address6, sizeof(old6)) != 0;
}

bool watch_reconcile(struct link_watch *watch)
{
	struct watched_link *link, *next;
	bool addresses_changed;

	if (watch->routes_dirty)
		routes_read(watch);
	HASH_ITER (hh, watch->links, link, next) {
		if (link->is_stale)
			link_refresh(watch, link);
	}
	HASH_ITER (hh, watch->links, link, next) {
		if (link->is_changed)
			link_reconcile(watch, link);
	}
	xdp_links_write(watch);
	if (watch->links_changed)
		watch->addresses_dirty = true; /* their rank depends on the links' roles */
	if (!watch->addresses_dirty)
		return false;
	addresses_changed = addresses_reconcile(watch);
	link_sources_write(watch);
	return addresses_changed;
}
