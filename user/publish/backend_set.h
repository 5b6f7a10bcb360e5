/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Backends: ids, which are places in the map `backends`, and the state that follows from the counts
 * of the service ports that have the backend.
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

/* What a service port's plan says of a backend. */
enum backend_fact {
	FACT_CLUSTER = 1U << 0,    /* in the list of the endpoints that policy Cluster may use */
	FACT_LOCAL_LIST = 1U << 1, /* in the list for policy Local */
	FACT_MEMBER = FACT_CLUSTER | FACT_LOCAL_LIST, /* neither: planned, but in no list */
	FACT_TERMINATING = 1U << 2,
	FACT_ON_THIS_NODE = 1U << 3,
	FACT_HAS_NODE = 1U << 4, /* one of the cluster */
};

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

struct service_set;

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
 * not have its address before backend_set_sync_address. Returns the id, or 0: there is no room.
 */
uint32_t backend_set_get_or_add(struct backend_set *set, const struct planned_backend *planned,
				__u8 proto);

/* Undoes backend_set_get_or_add for a change that failed: no list has ever had the backend. */
void backend_set_drop_unused(struct backend_set *set, uint32_t id);

/*
 * Counts a service port that has the backend, by `facts` (enum backend_fact), or no longer, and
 * writes the state that follows; a backend in no plan begins to leave. A backend whose own service
 * port is gone gets this one. Gaining logs.
 */
void backend_set_gain(struct backend_set *set, const struct service_set *services, uint32_t id,
		      uint32_t facts, uint32_t service_id);
void backend_set_lose(struct backend_set *set, uint32_t id, uint32_t facts);

/* Counts a service port of an earlier run that has the backend in a list. */
void backend_set_adopt_member(struct backend_set *set, uint32_t id);

/* Writes the state that follows from the counts, after the adoption of all service ports. */
void backend_set_sync(struct backend_set *set, uint32_t id);

/* Enters the backend's address into `addresses`. Returns 0 or a negative errno. */
int backend_set_sync_address(struct backend_set *set, uint32_t id);

/* Remembers that the service port no longer has the UDP backend. Logs. */
void backend_set_add_departure(struct backend_set *set, uint32_t service, uint32_t id);

/* Frees a backend that waits, if it may be freed. Returns true if its wait is over. */
bool backend_set_try_free(struct backend_set *set, uint32_t id, uint64_t now_ns);

/* Frees the id of a backend that is gone, when no program looks at it any more. */
void backend_set_release_id(struct backend_set *set, uint32_t id);

/*
 * Adopts all backends of an earlier run, clears the entries that cannot be used, and adds their
 * number to `ret_repaired`. All addresses are adopted already.
 */
void backend_set_adopt(struct backend_set *set, uint32_t *ret_repaired);
