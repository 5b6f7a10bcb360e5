/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Direct server return: which nodes there are, and what they know this one by. */

#include <stdbool.h>

#include "model/model.h"

/*
 * Makes `nodes` (a descriptor of `cluster_nodes`) what the Node objects say, and `address` (of
 * `node_address`) what the own one does. What is no node any more is removed once the source has
 * told all of them. Returns false if the own Node, `node_name`, has no address of either family, or
 * is not known. Logs.
 */
bool cluster_nodes_write(int nodes, int address, struct model *model, const char *node_name);
