/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Sources: the address that replaces the client's when a packet is masqueraded on its way out of a
 * link. As in the kernel's choice it is the link's own primary address; a link without an address
 * uses the node's.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "link/link_watch_internal.h"

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

void link_sources_write(struct link_watch *watch)
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

void link_source_remove(const struct link_watch *watch, int ifindex)
{
	const __u32 key = (__u32)ifindex;

	(void)bpf_map_delete_elem(watch->options.sources_map, &key);
}
