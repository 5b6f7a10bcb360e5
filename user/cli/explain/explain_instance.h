/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A second instance of the TC programs that looks things up in the maps of the first, and writes to
 * maps of its own: so it decides as the first does, without side effects. Closing it removes it.
 */

#include <stdbool.h>

#include "cli/explain/explain_packet.h"
#include "cli/explain/explain_place.h"
#include "cli/shown_maps.h"
#include "fairlead/config.h"
#include "fairlead/counters.h"
#include "fairlead/decision.h"

struct instance;

/*
 * Loads the programs for the place, with the configuration in use there. `loopback` (or NULL)
 * restricts them to that address, a loopback address of this node with NodePorts: the instance then
 * only answers for connect(). Complains. Returns 0 or a negative errno; -EPROTO: the attached
 * programs are of another version.
 */
int instance_open(const struct shown_maps *maps, const struct place *place,
		  const struct ip_addr *loopback, struct instance **ret_instance);
void instance_closep(struct instance **instance);

/* True if the programs fit that place too; the next run then uses it. */
bool instance_fits(struct instance *instance, const struct place *place,
		   const struct ip_addr *loopback);

const struct config *instance_config(const struct instance *instance);

/* The descriptor of a map of the first instance that is looked up in. */
int instance_table(const struct instance *instance, enum map_id id);

/*
 * Copy entries of the first instance into this one's own maps, for those maps that programs both
 * look up and write to.
 */
int instance_set_service(struct instance *instance, __u32 id, const struct service *service);
int instance_set_affinity(struct instance *instance, const struct affinity_key *key,
			  const struct affinity *affinity);
int instance_set_address_flows(struct instance *instance, __u32 index,
			       const struct address_flows *busy);
int instance_set_flow(struct instance *instance, const struct flow_key *key,
		      const struct flow *flow, bool is_confirmed);

/* The result of running a program on a packet. */
struct outcome {
	int verdict; /* TC_ACT_* */
	__u64 counted[COUNTER_COUNT];
	struct decision decision; /* all zero: no new decision */
	bool has_flow;
	struct flow flow; /* of the original direction */
	struct test_frame frame;
};

/*
 * Runs the program on a packet as if it arrived on, or left by, the place's link. Complains.
 * Returns 0 or a negative errno.
 */
int instance_run(struct instance *instance, const struct flow_key *tuple, bool opens,
		 struct outcome *ret_outcome);

/* Clears what a run has written, and the flows and affinity entries that were copied in. */
int instance_forget(struct instance *instance);
