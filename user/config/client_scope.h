/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * How kube-proxy's options (rules G95 to G97) tell near clients from far ones: by address, or by
 * the link they come from. Without options the link's role decides: pods are near.
 */

#include "config/traffic_options.h"
#include "fairlead/config.h"
#include "link/link_watch.h"
#include "model/object.h"

/* The criterion that the programs apply. */
enum near_by near_by_of(const struct traffic_options *traffic);

/* Which links have near clients; borrows from the options. */
struct link_near near_links_of(const struct traffic_options *traffic);

/*
 * Writes the ranges of near clients, from the options and this Node (NULL: not known), to
 * `near_ranges` (a descriptor). Logs.
 */
void near_ranges_write(int map, const struct traffic_options *traffic,
		       const struct node_object *node);
