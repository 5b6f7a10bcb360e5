/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The link by which this node reaches an address. */

#include "fairlead/types.h"

/*
 * Finds the link of the kernel's route to an address; if that is a bridge, the port behind which
 * the address was last seen, or the bridge itself if no port is known. Returns 0, -ENETUNREACH or
 * -EHOSTUNREACH if there is no route, or another negative errno. Silent.
 */
int route_find_link(const struct ip_addr *addr, int *ret_ifindex);
