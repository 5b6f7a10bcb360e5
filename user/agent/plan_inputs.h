/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the plans and the programs must know besides Services and endpoints: the node's addresses,
 * who is near, where ClusterIPs are from. Options, the own Node, ServiceCIDRs and links say it, and
 * it may change at any time.
 */

#include "datapath/datapath.h"
#include "agent/node_ports.h"
#include "config/options.h"
#include "link/link.h"
#include "model/model.h"
#include "plan/plan.h"

struct plan_inputs {
	struct node_port_addresses node_ports;
	/* What the programs were told last, and of what. */
	const struct datapath *told;
	uint64_t told_changes;
	bool has_no_address; /* which other nodes know this one by, for direct server return */
};

/*
 * Looks again, and tells the programs. `links` and `datapath` may be NULL before there are any.
 * Returns true if Services must be planned again. Logs.
 */
bool plan_inputs_refresh(struct plan_inputs *plan_inputs, const struct agent_options *options,
			 struct model *model, const struct link_watch *links,
			 const struct datapath *datapath);

/* What plans are made with; borrowed until the next look. */
void plan_inputs_context(const struct plan_inputs *plan_inputs, struct plan_context *context);

void plan_inputs_fini(struct plan_inputs *plan_inputs);
