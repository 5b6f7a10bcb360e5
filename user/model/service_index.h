/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Internal to the model.
 *
 * A struct service_entry holds everything about one Service: the Service, its Endpoints (of the
 * same name), its EndpointSlices (which name it in a label) and whether it is dirty. The entry
 * exists as long as one of them does, in whatever order they arrive. Pods matter only to Services
 * of their namespace that have a selector: struct namespace_entry lists those.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lookup.h"
#include "model/model.h"
#include "model/object.h"
#include "model/uthash.h"

/* An EndpointSlice, Node, Pod or ServiceCIDR. */
struct member {
	struct object *object;
	struct member *prev, *next; /* in the Service's slices or the namespace's Pods */
	union {
		struct service_entry *service;      /* EndpointSlice; NULL: belongs to none */
		struct namespace_entry *namespace_; /* Pod */
	};
};

struct service_entry {
	struct object *service;
	struct object *endpoints;
	struct member *slices;
	struct service_entry *dirty_next;
	struct namespace_entry *selecting_in; /* NULL: has no selector */
	struct service_entry *prev, *next;    /* among the namespace's Services with a selector */
	struct derived_slices *derived;       /* what model_slices last derived from Pods */
	bool dirty;
	char key[]; /* namespace, 0, name, 0 */
};

struct namespace_entry {
	struct member *pods;
	size_t pod_count;
	struct service_entry *selecting;
	UT_hash_handle hh;
	char name[];
};

struct model {
	struct lookup services;
	struct lookup members[OBJECT_KIND_COUNT]; /* of all kinds but Services and Endpoints */
	struct namespace_entry *namespaces;
	struct service_entry *dirty_first, *dirty_last;
	size_t counts[OBJECT_KIND_COUNT];
	uint64_t changes[OBJECT_KIND_COUNT];
	bool is_listed[OBJECT_KIND_COUNT];
	model_arrival_fn on_arrival; /* or NULL */
	void *arrival_context;
};

/* Identifies an object among those of its kind. */
struct object_key {
	const char *namespace_, *name;
};

struct object_key object_key(const struct object *object);
uint32_t object_key_hash(const struct object_key *key);

/* The entry of a Service, or NULL. */
struct service_entry *entry_find(const struct model *model, const char *namespace_,
				 const char *name);

/* The entry of that name, created if there is none; NULL: no memory. */
struct service_entry *entry_ensure(struct model *model, const char *namespace_, const char *name);

/* Frees the entry if nothing needs it any more. */
void entry_release(struct model *model, struct service_entry *entry);

/* The name of the entry's Service. */
const char *entry_name(const struct service_entry *entry);

/* True if the Service's endpoints are derived from Pods. */
bool entry_is_derived(const struct service_entry *entry);

/* Frees the slices that were derived from Pods. */
void entry_drop_derived(struct service_entry *entry);

/* To be called when the Service gains or loses its selector. Returns 0 or -ENOMEM. */
int entry_begin_selecting(struct model *model, struct service_entry *entry);
void entry_end_selecting(struct model *model, struct service_entry *entry);

/* The member of that kind and name, or NULL. */
struct member *member_find(const struct model *model, enum object_kind kind, const char *namespace_,
			   const char *name);

/* The namespace's entry, created if there is none; NULL: no memory. */
struct namespace_entry *namespace_ensure(struct model *model, const char *name);

/* Frees the namespace's entry if nothing needs it any more. */
void namespace_release(struct model *model, struct namespace_entry *entry);
