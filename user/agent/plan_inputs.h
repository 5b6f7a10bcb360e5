/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the plans and the programs depend on besides Services and endpoints: the node's addresses
 * and zone, the ranges of near clients, the ranges of ClusterIPs. They follow from options, this
 * Node, ServiceCIDRs and links, and may change at any time.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/node_port_addresses.h"
#include "config/options.h"
#include "model/model.h"
#include "plan/plan.h"

#define ZONE_SIZE 64 /* a label's value: 63 characters */

struct plane;

struct plan_inputs {
	struct node_port_addresses node_ports;
	char zone[ZONE_SIZE]; /* this Node's; "": none */
	/* The plane whose maps were last written, and the model's change count at that time. */
	uint64_t written_plane; /* its number; 0: none */
	uint64_t written_changes;
	bool has_no_address; /* this Node has none, which direct server return needs */
};

/*
 * Re-reads the inputs and updates the programs' maps. `plane` may be NULL before there is one.
 * Returns true if Services must be planned again. Logs.
 */
bool plan_inputs_refresh(struct plan_inputs *plan_inputs, const struct agent_options *options,
			 struct model *model, const struct plane *plane);

/* Fills in the inputs of a plan; borrowed until the next refresh. */
void plan_inputs_context(const struct plan_inputs *plan_inputs, struct plan_context *context);

void plan_inputs_fini(struct plan_inputs *plan_inputs);
