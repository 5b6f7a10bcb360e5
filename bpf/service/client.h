/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Where a new flow's client is, which decides on traffic policies and on the route of the replies.
 */

#include "config.h"
#include "fairlead/decision.h"
#include "hook.h"
#include "maps.h"
#include "packet/address.h"
#include "packet/packet.h"

static __always_inline bool is_in_near_ranges(const struct ip_addr *addr)
{
	struct near_range key = {.prefix = 8 * sizeof(key.addr), .addr = *addr};

	return bpf_map_lookup_elem(&near_ranges, &key);
}

/* Finds out where a new flow's client is. */
static __noinline int client_find(const struct packet *packet, const struct hook *hook,
				  struct client_place *ret_place)
{
	const struct address_info *source = address_lookup(&packet->src);
	__u32 ifindex = hook->ifindex;
	const struct link_info *link;

	if (hook->is_egress || (source && source->flags & ADDRESS_NODE)) {
		ret_place->is_near = true;
		ret_place->returns_here = true;
		return 0;
	}
	link = bpf_map_lookup_elem(&links, &ifindex);
	ret_place->returns_here = link && (link->is_near || link->role == LINK_POD);
	ret_place->is_near = config.near_by == NEAR_BY_RANGE ? is_in_near_ranges(&packet->src)
							     : link && link->is_near;
	return 0;
}
