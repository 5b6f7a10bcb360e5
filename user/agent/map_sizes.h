/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The map sizes that the source's content needs, with room to grow. */

#include <stdbool.h>

#include "agent/plan_inputs.h"
#include "config/options.h"
#include "datapath/datapath.h"
#include "model/model.h"

/*
 * Plans every Service once, to count the entries it needs. Sizes that flags set are taken from the
 * flags. Marks all Services dirty. Returns 0 or -ENOMEM. Silent.
 */
int map_sizes_of_model(struct model *model, const struct agent_options *options,
		       const struct plan_inputs *plan_inputs, struct datapath_sizes *ret_sizes);

/* The minimum sizes of a datapath, whatever the source holds. */
void map_sizes_of_options(const struct agent_options *options, struct datapath_sizes *ret_sizes);

/* True if the needed sizes fit into the present ones. */
bool map_sizes_fit(const struct datapath_sizes *needed, const struct datapath_sizes *present);
