/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Where ClusterIPs are from: addresses there that no Service has are dropped (rule C44). */

#include "config/traffic.h"
#include "model/model.h"

/*
 * Makes `service_ranges` (a descriptor) what --service-cidr and the ServiceCIDR objects say
 * together. What is there already is not written. Logs.
 */
void service_cidrs_write(int map, const struct traffic_options *traffic, struct model *model);
