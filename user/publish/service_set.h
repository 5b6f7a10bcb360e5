/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Services by name, with their service ports; and the ids of service ports, which are places in the
 * map `services`.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/lookup.h"
#include "fairlead/types.h"
#include "publish/ids.h"
#include "publish/publisher.h"
#include "publish/retirement.h"
#include "publish/shortage.h"

/* A backend of a service port. */
struct port_backend {
	uint32_t id : 27;
	uint32_t facts : 5; /* enum backend_fact */
};

/* Where a service port answers, or would answer if another did not hold the place. */
struct port_frontend {
	struct frontend frontend;
	uint32_t kind : 3;         /* enum frontend_kind; 0: not there yet, or no longer */
	uint32_t is_displaced : 1; /* another service port holds it */
	uint32_t address : 28;     /* index of its address record; 0: loopback, which has none */
};

struct port_record {
	struct port_record *prev, *next; /* of the same Service */
	struct service_record *service;
	uint32_t id;
	uint32_t frontend_count, backend_count, range_count;
	struct port_frontend *frontends; /* ascending by their bytes */
	struct port_backend *backends;   /* ascending by id */
	struct cidr *ranges;             /* those of `source_ranges`, ascending */
	uint8_t proto, family;
	bool is_claimed;  /* by a plan since open */
	bool is_planned;  /* stays, says the plan that is being applied */
	bool is_taken;    /* has a reason UNPROGRAMMED_TAKEN in the map */
	bool is_reported; /* that, to the caller */
	char port_name[];
};

struct left_alone;

/* A Service that has service ports or reasons not to. */
struct service_record {
	struct port_record *ports;
	struct left_alone *left_alone;         /* NULL: none */
	struct unprogrammed_key *unprogrammed; /* ascending by their bytes */
	uint32_t unprogrammed_count;
	uint32_t unfitting; /* ports that did not fit */
	uint64_t created_s; /* of the plan; not known before one has claimed it */
	bool is_claimed;    /* by a plan since open */
	char name[];        /* "namespace/name" */
};

struct service_set {
	struct lookup by_name;   /* struct service_record */
	struct service *entries; /* the map `services`, mapped; by id of the service port */
	uint32_t max;
	struct id_pool ids;
	/*
	 * Uses of each service port id, which keep another port from getting it: the port itself,
	 * and each of its former frontends whose flows may still exist.
	 */
	uint32_t *uses;
	struct port_record **ports; /* by id; NULL: none, or only a former one */
	struct id_index by_port;    /* ids of the ports, by Service, name, protocol and family */
	/* By id: lists that the port no longer uses, and that are in their grace period. */
	uint32_t *retired_lists;
	int names, stats; /* maps */
	uint32_t port_count;
	/* Borrowed. */
	struct retirement *retirement;
	struct shortage *shortage;
};

/* Returns 0 or a negative errno; service_set_fini frees what was made in any case. */
int service_set_init(struct service_set *set, const struct publisher_maps *maps,
		     struct retirement *retirement, struct shortage *shortage);

/* Frees all records too; the maps keep what they hold. */
void service_set_fini(struct service_set *set);

/*
 * service_set_find returns NULL if there is no such Service, service_set_get_or_add if there is no
 * memory. A Service exists until service_set_drop_empty finds nothing in it.
 */
struct service_record *service_set_find(const struct service_set *set, const char *namespace_,
					const char *name);
struct service_record *service_set_get_or_add(struct service_set *set, const char *namespace_,
					      const char *name);
void service_set_drop_empty(struct service_set *set, struct service_record *service);

/* The Service's port of that name, protocol and family, or NULL. */
struct port_record *service_set_find_port(const struct service_set *set,
					  const struct service_record *service,
					  const struct service_name *name);

/* The service port that has the id, or NULL. */
struct port_record *service_set_port_of(const struct service_set *set, uint32_t id);

/* Sorts by id. */
void port_backends_sort(struct port_backend *backends, uint32_t count);

/*
 * Adds a service port with an id of its own, at which the maps have nothing yet. Returns 0, -ENOSPC
 * or -ENOMEM.
 */
int service_set_add_port(struct service_set *set, struct service_record *service,
			 const struct service_name *name, struct port_record **ret_port);

/* Undoes service_set_add_port; no program has seen the port. */
void service_set_undo_port(struct service_set *set, struct service_record *service,
			   struct port_record *port);

/* Adds the service port that an earlier run had at `id`. Returns NULL if there is no memory. */
struct port_record *service_set_adopt_port(struct service_set *set, struct service_record *service,
					   const struct service_name *name, uint32_t id);

/* Removes the record of the service port; its id stays in use. */
void service_set_remove_port(struct service_set *set, struct service_record *service,
			     struct port_record *port);

/* True if the map has a service port at the id. */
bool service_set_is_in_use(const struct service_set *set, uint32_t id);

/* Writes the name, if the map does not have it. Returns 0 or a negative errno. */
int service_set_write_name(struct service_set *set, uint32_t id, const struct service_name *name);

/* Clears what programs counted for the former port of that id. */
void service_set_clear_stats(const struct service_set *set, uint32_t id);

/*
 * The service port stops using one of its lists; after the grace period, service_set_forget_list
 * returns true if no other is in one.
 */
void service_set_retire_list(struct service_set *set, uint32_t id);
bool service_set_forget_list(struct service_set *set, uint32_t id);

/* Adds a use of the service port's id that ends with the flows of the VIP. */
void service_set_hold_id(struct service_set *set, uint32_t id, uint32_t vip);

/* Ends one use of the service port's id; does nothing for 0. */
void service_set_release_id(struct service_set *set, uint32_t id);

/* True if few ids are left. */
bool service_set_is_scarce(const struct service_set *set);
