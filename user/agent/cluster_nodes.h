/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Direct server return: the cluster's nodes, and the address by which they know this one. */

#include <stdbool.h>

#include "model/model.h"

/*
 * Updates `nodes` (a descriptor of `cluster_nodes`) from the Node objects, and `address` (of
 * `node_address`) from this Node's. Entries of removed nodes are deleted once the source has listed
 * all Nodes. Returns false if this Node, `node_name`, is unknown or has no address of either
 * family. Logs.
 */
bool cluster_nodes_write(int nodes, int address, struct model *model, const char *node_name);
