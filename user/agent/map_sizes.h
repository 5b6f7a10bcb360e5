/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* How large the maps must be for what the source holds, with room to grow. */

#include <stdbool.h>

#include "datapath/datapath.h"
#include "config/options.h"
#include "agent/plan_inputs.h"
#include "model/model.h"

/*
 * Plans every Service once, to count. What the flags fix is taken from them. All Services are
 * dirty afterwards. Returns 0 or -ENOMEM. Silent.
 */
int sizes_of_model(struct model *model, const struct agent_options *options,
		   const struct plan_inputs *plan_inputs, struct datapath_sizes *ret_sizes);

/* The least that a datapath is made with, whatever it is to hold. */
void sizes_of_options(const struct agent_options *options, struct datapath_sizes *ret_sizes);

/* True if what is needed fits into what there is. */
bool sizes_fit(const struct datapath_sizes *needed, const struct datapath_sizes *present);
