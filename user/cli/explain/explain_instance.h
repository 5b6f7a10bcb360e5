/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A second instance of the TC programs that looks things up in the tables of the first, and writes
 * to tables of its own: so it decides as the first does, and nobody notices. It is gone when it is
 * closed.
 */

#include <stdbool.h>

#include "cli/explain/explain_packet.h"
#include "cli/explain/explain_place.h"
#include "cli/maps.h"
#include "fairlead/config.h"
#include "fairlead/counters.h"
#include "fairlead/decision.h"

struct instance;

/*
 * Loads the programs that the place has, with their configuration. With `loopback` (or NULL) that
 * is the only address they know, one of this node that has NodePorts: only connect() may be asked
 * for it. Complains. Returns 0 or a negative errno; -EPROTO: those that are attached are of another
 * version.
 */
int instance_open(const struct maps *maps, const struct place *place,
		  const struct ip_addr *loopback, struct instance **ret_instance);
void instance_closep(struct instance **instance);

/*
 * True if the programs are those of that place too; it is where they are asked from then on.
 */
bool instance_fits(struct instance *instance, const struct place *place,
		   const struct ip_addr *loopback);

const struct config *instance_config(const struct instance *instance);

/* A table that is looked up in, of the first instance; -1: there is none of this name. */
int instance_table(const struct instance *instance, const char *name);

/*
 * What the first instance knows, and programs ask of tables that they write to, is put into those
 * of this one.
 */
int instance_set_service(struct instance *instance, __u32 id, const struct service *service);
int instance_set_affinity(struct instance *instance, const struct affinity_key *key,
			  const struct affinity *affinity);
int instance_set_address_flows(struct instance *instance, __u32 index,
			       const struct address_flows *busy);
int instance_set_flow(struct instance *instance, const struct flow_key *key,
		      const struct flow *flow, bool is_confirmed);

/* What became of a packet. */
struct outcome {
	int verdict; /* TC_ACT_* */
	__u64 counted[COUNTER_COUNT];
	struct decision decision; /* all zero: nothing was decided anew */
	bool has_flow;
	struct flow flow; /* of the original direction */
	struct test_frame frame;
};

/*
 * Lets the program look at a packet, as if it came by the place's link. Complains. Returns 0 or a
 * negative errno.
 */
int instance_run(struct instance *instance, const struct flow_key *tuple, bool opens,
		 struct outcome *ret_outcome);

/* Forgets what a run has written, and flows and affinity that were put in. */
int instance_forget(struct instance *instance);
