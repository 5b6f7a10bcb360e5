/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The near clients of this node, by kube-proxy's options that detect local traffic (rules G95 to
 * G97): those behind certain links, or those with an address in certain ranges.
 */

#include "config/traffic_options.h"
#include "link/link_watch.h"
#include "model/object.h"

/* Which links have near clients; borrows from the options. */
struct link_near near_links_of(const struct traffic_options *traffic);

/*
 * Writes the ranges of near clients, from the options and this Node (NULL: not known), to
 * `near_ranges` (a descriptor). Logs.
 */
void near_ranges_write(int map, const struct traffic_options *traffic,
		       const struct node_object *node);
