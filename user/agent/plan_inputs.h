/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the plans and the programs depend on besides Services and endpoints: the node's addresses,
 * the ranges of near clients, the ranges of ClusterIPs. They follow from options, this Node,
 * ServiceCIDRs and links, and may change at any time.
 */

#include "datapath/datapath.h"
#include "agent/node_ports.h"
#include "config/options.h"
#include "link/link_watch.h"
#include "model/model.h"
#include "plan/plan.h"

struct plan_inputs {
	struct node_port_addresses node_ports;
	/* The datapath that was last updated, and the model's change count at that time. */
	const struct datapath *told;
	uint64_t told_changes;
	bool has_no_address; /* this Node has none, which direct server return needs */
};

/*
 * Re-reads the inputs and updates the programs' maps. `links` and `datapath` may be NULL before
 * they exist. Returns true if Services must be planned again. Logs.
 */
bool plan_inputs_refresh(struct plan_inputs *plan_inputs, const struct agent_options *options,
			 struct model *model, const struct link_watch *links,
			 const struct datapath *datapath);

/* Fills in the inputs of a plan; borrowed until the next refresh. */
void plan_inputs_context(const struct plan_inputs *plan_inputs, struct plan_context *context);

void plan_inputs_fini(struct plan_inputs *plan_inputs);
