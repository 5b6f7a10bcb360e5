/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * How near clients are told from far ones, by kube-proxy's options (rules G95 to G97): by the
 * address, or by the link they come from. Without options, by the link's role: pods are near.
 */

#include "config/traffic.h"
#include "fairlead/config.h"
#include "link/link.h"
#include "model/object.h"

/* What the programs are told. */
enum near_by near_by_of(const struct traffic_options *traffic);

/* Which links are near; borrows from the options. */
struct link_near near_links_of(const struct traffic_options *traffic);

/*
 * Makes `near_ranges` (a descriptor) what the options and the own Node (NULL: not known) say. Logs.
 */
void near_ranges_write(int map, const struct traffic_options *traffic,
		       const struct node_object *node);
