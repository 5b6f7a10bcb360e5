/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* By which link this node reaches an address, and so is reached from there. */

#include "fairlead/types.h"

/*
 * The link of the kernel's route to an address; for one of a bridge, the port behind which the
 * address was seen last, or the bridge where that is not known. Returns 0, -ENETUNREACH or
 * -EHOSTUNREACH: there is no way, or another negative errno. Silent.
 */
int route_find_link(const struct ip_addr *addr, int *ret_ifindex);
