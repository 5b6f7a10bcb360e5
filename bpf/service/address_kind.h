/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Kinds of addresses that several flags make up, or several kinds of frontends. */

#include <stdbool.h>

#include "maps.h"

/* True for an address of the node with frontends: not all of its ports belong to the stack. */
static __always_inline bool has_node_ports(const struct address_info *address)
{
	return address->flags & ADDRESS_NODE && address->flags & ADDRESS_VIP;
}

/*
 * True for an external or load-balancer IP that a link of this node has; other nodes may have it,
 * too.
 */
static __always_inline bool is_vip_of_node(const struct address_info *address)
{
	return address->flags & ADDRESS_NODE && address->flags & ADDRESS_EXTERNAL;
}
