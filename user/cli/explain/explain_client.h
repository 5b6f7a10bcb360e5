/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the datapath knows of a client: whether it is near, and its last backend of a Service. */

#include <stdbool.h>

#include "cli/explain/explain_instance.h"
#include "cli/explain/explain_place.h"
#include "cli/shown_maps.h"
#include "fairlead/types.h"

/* Size of the text that says why a client is near or far, and by which range. */
#define CLIENT_WHY_SIZE 256

/*
 * Whether a client at this place is near, and why, by the tables that the programs look up. Without
 * an instance (NULL) the link decides.
 */
bool client_is_near(const struct instance *instance, const struct place *place,
		    const struct ip_addr *client, char ret_why[CLIENT_WHY_SIZE]);

/*
 * Finds the affinity entry of a client and service port, by the client's address or by the network
 * namespace of its process (`node_cookie`: the node's own). Returns false if there is none.
 */
bool client_find_affinity(const struct shown_maps *maps, const struct place *place,
			  const struct affinity_key *key, __u64 node_cookie,
			  struct affinity *ret_affinity);
