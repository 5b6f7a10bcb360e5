/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Frontends: the service port that answers at an address and port. Two service ports may want the
 * same one: while one Service replaces another, while a port is renamed, or when a manifest was
 * copied. The kind with the lower rank wins, and among equals the older Service, so that every
 * node and every start decides alike; of one Service's ports, the last to come. The others are
 * displaced, and the next of them gets the frontend when the winner goes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "plan/plan.h"
#include "publish/address_set.h"
#include "publish/ids.h"
#include "publish/publisher.h"
#include "publish/service_set.h"
#include "publish/shortage.h"

/* What a service port wants and another one holds. */
struct displaced_frontend {
	struct frontend frontend;
	struct port_record *port;
};

struct displaced_frontends {
	struct displaced_frontend *items; /* from 1 on */
	uint32_t count, room;
	struct id_index by_frontend;
};

struct frontend_set {
	int map;
	uint32_t max;
	uint8_t *node_ports; /* the map `node_ports`, mapped; by port number in host byte order */
	uint32_t count;      /* of all service ports, including displaced ones */
	struct displaced_frontends displaced;
	bool displaced_changed; /* since this was last reset */
	bool has_new_udp;       /* a UDP frontend was added since this was last reset */
	/* Borrowed. */
	struct address_set *addresses;
	struct service_set *services;
	struct shortage *shortage;
};

/* Returns 0 or a negative errno; frontend_set_fini frees what was made in any case. */
int frontend_set_init(struct frontend_set *set, const struct publisher_maps *maps,
		      struct address_set *addresses, struct service_set *services,
		      struct shortage *shortage);
void frontend_set_fini(struct frontend_set *set);

/*
 * Makes room for the frontends that are in the plan and that the port does not have. For each
 * planned frontend, `ret_addresses` gets the index of its address, which is taken, or 0 if the port
 * has the frontend already or the address is a loopback one. Returns 0, -ENOSPC or -ENOMEM;
 * frontend_set_undo gives back what was taken in any case.
 */
int frontend_set_prepare(struct frontend_set *set, struct port_record *port,
			 const struct planned_port *planned, uint32_t *ret_addresses);
void frontend_set_undo(struct frontend_set *set, const struct planned_port *planned,
		       const uint32_t *addresses);

/*
 * Makes the service port, which is complete, answer at its planned frontends, and then at no
 * others. Sets `ret_changed` if anything changed. Stops at the first frontend that cannot be
 * written and returns the error; no frontend is removed then.
 */
int frontend_set_apply(struct frontend_set *set, struct port_record *port,
		       const struct planned_port *planned, const uint32_t *addresses,
		       bool *ret_changed);

/*
 * Decides anew who gets what the service port and others want: to be called when the age of its
 * Service changes, which is not known before a plan has claimed it.
 */
void frontend_set_contend(struct frontend_set *set, const struct port_record *port);

/* Removes all frontends of the service port. */
void frontend_set_remove_all(struct frontend_set *set, struct port_record *port);

/* Adopts a frontend of an earlier run. Returns 0, -ENOMEM, or -EINVAL: it cannot be used. */
int frontend_set_adopt(struct frontend_set *set, struct port_record *port,
		       const struct frontend *frontend, const struct frontend_target *target);

/* Sorts the port's frontends; to be called when all are adopted. */
void frontends_sort(struct port_record *port);
