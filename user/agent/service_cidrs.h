/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ranges of ClusterIPs: packets to addresses in them that no Service has are dropped (rule
 * C44).
 */

#include "config/traffic_options.h"
#include "model/model.h"

/*
 * Writes the union of --service-cidr and the ServiceCIDR objects to `service_ranges` (a
 * descriptor), if it has changed. Logs.
 */
void service_cidrs_write(int map, const struct traffic_options *traffic, struct model *model);
