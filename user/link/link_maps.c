/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the programs know of links, in three maps.
 *
 * `links`: the role, the hooks and the MAC address of each link.
 *
 * `link_sources`: the address that replaces the client's when a packet is masqueraded on its way
 * out of a link. As in the kernel's choice it is the link's own primary address; a link without an
 * address uses the node's.
 *
 * `xdp_links`: the MAC addresses of the links whose frames our XDP program sees: links that run it,
 * and the members of a bond that runs it, because the program is executed on the member. The
 * program ignores frames from links that are not in this map, and frames to other MAC addresses.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"
#include "fairlead/limits.h"
#include "fairlead/types.h"
#include "link/hooks/xdp.h"
#include "link/link_watch_internal.h"

void link_maps_write_info(const struct link_watch *watch, const struct watched_link *link,
			  const struct link_info *info)
{
	const __u32 key = (__u32)link->facts.ifindex;

	if (bpf_map_update_elem(watch->options.links_map, &key, info, BPF_ANY))
		(void)log_err(-errno, "link %s: cannot write it to the map of links, continuing",
			      info->name);
}

static struct link_source source_of(const struct link_watch *watch, const struct watched_link *link)
{
	const int ifindex = link->facts.ifindex;
	struct link_source source = {
		.ipv4 = address_table_of_link(&watch->addresses, ifindex, FAMILY_IPV4),
		.ipv6 = address_table_of_link(&watch->addresses, ifindex, FAMILY_IPV6),
	};

	if (address_is_zero(&source.ipv4))
		source.ipv4 = watch->address4;
	if (address_is_zero(&source.ipv6))
		source.ipv6 = watch->address6;
	return source;
}

void link_maps_write_sources(struct link_watch *watch)
{
	struct watched_link *link, *next;

	HASH_ITER (hh, watch->links, link, next) {
		const __u32 key = (__u32)link->facts.ifindex;
		const struct link_source source = source_of(watch, link);

		if (link->has_source && !memcmp(&source, &link->source, sizeof(source)))
			continue;
		link->source = source;
		link->has_source = true;
		if (bpf_map_update_elem(watch->options.sources_map, &key, &source, BPF_ANY))
			(void)log_err(-errno,
				      "link %s: cannot write its addresses to the map of sources, "
				      "continuing: NodePort traffic may not leave by it",
				      link->facts.name);
	}
}

static __u32 place_of(int ifindex)
{
	return (__u32)ifindex % XDP_LINKS_MAX;
}

/* Whether our XDP program, attached to the link or to its master, sees the link's frames. */
static bool link_meets_xdp(const struct link_watch *watch, const struct watched_link *link)
{
	const struct watched_link *master =
		link->facts.master ? link_find(watch, link->facts.master) : NULL;

	return link_has_xdp(&link->info) || (master && link_has_xdp(&master->info));
}

static bool place_is_anothers(const struct link_watch *watch, int ifindex)
{
	const struct watched_link *link, *next;

	HASH_ITER (hh, watch->links, link, next) {
		if (link->has_place && link->facts.ifindex != ifindex &&
		    place_of(link->facts.ifindex) == place_of(ifindex))
			return true;
	}
	return false;
}

static int place_write(const struct link_watch *watch, int ifindex, const struct xdp_link *value)
{
	const __u32 place = place_of(ifindex);

	if (bpf_map_update_elem(watch->options.xdp_links_map, &place, value, BPF_ANY))
		return -errno;
	return 0;
}

static void xdp_link_remove(const struct link_watch *watch, struct watched_link *link)
{
	const struct xdp_link empty = {};

	if (link->has_place)
		(void)place_write(watch, link->facts.ifindex, &empty);
	link->has_place = false;
}

static void xdp_link_write(const struct link_watch *watch, struct watched_link *link)
{
	struct xdp_link made = {.ifindex = (__u32)link->facts.ifindex};
	int err;

	memcpy(made.mac, link->facts.mac, sizeof(made.mac));
	memcpy(made.bridge_mac, link->info.bridge ? link->info.mac : link->facts.mac,
	       sizeof(made.bridge_mac));
	if (link->has_place ? !memcmp(&made, &link->xdp_link, sizeof(made))
			    : place_is_anothers(watch, link->facts.ifindex))
		return;
	err = place_write(watch, link->facts.ifindex, &made);
	if (err) {
		(void)log_err(err,
			      "link %s: cannot write its address for XDP, continuing: TC does the "
			      "work",
			      link->facts.name);
		return;
	}
	link->xdp_link = made;
	link->has_place = true;
}

void link_maps_write_xdp(struct link_watch *watch)
{
	struct watched_link *link, *next;

	HASH_ITER (hh, watch->links, link, next) {
		if (link_meets_xdp(watch, link))
			xdp_link_write(watch, link);
		else
			xdp_link_remove(watch, link);
	}
}

void link_maps_remove(const struct link_watch *watch, struct watched_link *link)
{
	const __u32 key = (__u32)link->facts.ifindex;

	(void)bpf_map_delete_elem(watch->options.links_map, &key);
	(void)bpf_map_delete_elem(watch->options.sources_map, &key);
	xdp_link_remove(watch, link);
}

static bool link_is_known(const void *key, const void *context)
{
	__u32 ifindex;

	memcpy(&ifindex, key, sizeof(ifindex));
	return link_find(context, (int)ifindex);
}

void link_maps_sweep(const struct link_watch *watch)
{
	const struct xdp_link empty = {};
	struct xdp_link found;

	(void)map_keep_only(watch->options.links_map, link_is_known, watch);
	(void)map_keep_only(watch->options.sources_map, link_is_known, watch);
	for (__u32 place = 0; place < XDP_LINKS_MAX; place++) {
		const struct watched_link *link;

		if (bpf_map_lookup_elem(watch->options.xdp_links_map, &place, &found) ||
		    !found.ifindex)
			continue;
		link = link_find(watch, (int)found.ifindex);
		if (!link || !link->has_place)
			(void)bpf_map_update_elem(watch->options.xdp_links_map, &place, &empty,
						  BPF_ANY);
	}
}
