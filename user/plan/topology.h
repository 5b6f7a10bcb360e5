/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Topology hints: kube-proxy's rules E64 to E73 (KEP-2433, KEP-3015). */

#include "plan/candidates.h"

enum topology_mode {
	TOPOLOGY_NONE, /* all ready endpoints */
	TOPOLOGY_NODE, /* those hinted for this node */
	TOPOLOGY_ZONE, /* those hinted for this node's zone */
};

/* Decides the mode of one service port; only ready endpoints count. */
enum topology_mode topology_mode_of(const struct plan_context *context,
				    const struct candidates *candidates);

/* True if the mode lets this node use the endpoint. */
bool topology_fits(const struct plan_context *context, enum topology_mode mode,
		   const struct slice_endpoint *endpoint);
