/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Backends: ids, which are places in the map `backends`, and the state that follows from the counts
 * of the service ports that have the backend. The caller changes the counts and then has the state
 * follow them (backend_set_sync).
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/limits.h"
#include "fairlead/types.h"
#include "plan/plan.h"
#include "publish/address_set.h"
#include "publish/ids.h"
#include "publish/publisher.h"
#include "publish/retirement.h"
#include "publish/shortage.h"

/* What user space knows about a backend, by its id. */
struct backend_record {
	uint32_t members;            /* service ports with it in a list */
	uint32_t known;              /* service ports with it in their plan, in a list or not */
	uint32_t leaving;            /* those among them that have it terminating */
	uint32_t address : 29;       /* index of its address record */
	uint32_t terminating : 1;    /* according to the last plan that had it */
	uint32_t is_waiting : 1;     /* for its flows to end */
	uint32_t has_left_again : 1; /* it came back and left while waiting */
};

/* A UDP backend that a service port no longer has. */
struct backend_departure {
	uint32_t service;
	uint32_t backend;
};

struct backend_set {
	struct backend *entries; /* the map, mapped */
	uint32_t max;
	struct id_pool ids;
	struct id_index index;
	struct backend_record *records;
	int far_map;
	uint32_t far[2 * FAR_BACKENDS]; /* as in the map `far_backends` */
	struct backend_departure *departures;
	uint32_t departure_count, departure_room;
	uint32_t count, draining, unused;
	/* Borrowed. */
	struct address_set *addresses;
	struct retirement *retirement;
	struct shortage *shortage;
};

/* Returns 0 or a negative errno; backend_set_fini frees what was made in any case. */
int backend_set_init(struct backend_set *set, const struct publisher_maps *maps,
		     struct address_set *addresses, struct retirement *retirement,
		     struct shortage *shortage);
void backend_set_fini(struct backend_set *set);

/* The id of the backend, or 0. */
uint32_t backend_set_find(const struct backend_set *set, const struct ip_addr *addr, __be16 port,
			  __u8 proto);

/*
 * Finds or creates the backend. A new entry is complete, in state draining, but `addresses` does
 * not have its address before address_set_sync. Returns the id, or 0: there is no room.
 */
uint32_t backend_set_get_or_add(struct backend_set *set, const struct planned_backend *planned,
				__u8 proto);

/* Undoes backend_set_get_or_add for a change that failed: no list has ever had the backend. */
void backend_set_drop_unused(struct backend_set *set, uint32_t id);

/* Writes the state that follows from the record's counts; a backend in no plan begins to leave. */
void backend_set_sync(struct backend_set *set, uint32_t id);

/*
 * Keeps a backend of another node in this one's place of `far_backends`, if there is any; to be
 * called when this one was added, changed or removed. Packets of other nodes arrive by the links
 * that lead to such backends. Logs.
 */
void backend_set_sync_far(struct backend_set *set, uint32_t id);

/* Remembers that the service port no longer has the UDP backend. Logs. */
void backend_set_add_departure(struct backend_set *set, uint32_t service, uint32_t id);

/* Frees a backend that waits, if it may be freed. Returns true if its wait is over. */
bool backend_set_try_free(struct backend_set *set, uint32_t id, uint64_t now_ns);

/*
 * Adopts all backends of an earlier run, clears the entries that cannot be used, and adds their
 * number to `ret_repaired`. All addresses are adopted already.
 */
void backend_set_adopt(struct backend_set *set, uint32_t *ret_repaired);
