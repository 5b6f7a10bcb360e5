/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Inside of the model.
 *
 * Everything about one Service hangs on its struct service_entry: the Service, its Endpoints (which
 * have its name), its EndpointSlices (which name it in a label) and whether it is dirty. The entry
 * is there as long as one of them is, in whatever order they come. Pods concern the Services of
 * their namespace that have a selector and nothing else: those are listed in struct
 * namespace_entry.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lookup.h"
#include "model/model.h"
#include "model/object.h"
#include "model/table.h"

/* An EndpointSlice, Node, Pod or ServiceCIDR. */
struct member {
	struct object *object;
	struct member *prev, *next; /* slices of a Service, or Pods of a namespace */
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
	struct service_entry *prev, *next;    /* Services with a selector in the namespace */
	struct derived_slices *derived;       /* what model_slices last made of Pods */
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

/* What objects of one kind are found by. */
struct object_key {
	const char *namespace_, *name;
};

struct object_key object_key(const struct object *object);
uint32_t object_key_hash(const struct object_key *key);

/* Entries of Services. NULL: there is none. */
struct service_entry *entry_find(const struct model *model, const char *namespace_,
				 const char *name);

/* The entry of that name, made where there is none; NULL where memory is short. */
struct service_entry *entry_ensure(struct model *model, const char *namespace_, const char *name);

/* Frees the entry if nothing needs it any more. */
void entry_release(struct model *model, struct service_entry *entry);

/* The Service's name. */
const char *entry_name(const struct service_entry *entry);

/* Whether Pods are what its endpoints are made of. */
bool entry_is_derived(const struct service_entry *entry);

/* Forgets what was made of Pods. */
void entry_drop_derived(struct service_entry *entry);

/* Its Service has a selector, or has none any more. Returns 0 or -ENOMEM. */
int entry_begin_selecting(struct model *model, struct service_entry *entry);
void entry_end_selecting(struct model *model, struct service_entry *entry);

/* NULL: there is none. */
struct member *member_find(const struct model *model, enum object_kind kind, const char *namespace_,
			   const char *name);

/* Made where there is none; NULL where memory is short. */
struct namespace_entry *namespace_ensure(struct model *model, const char *name);

/* Frees it if nothing needs it any more. */
void namespace_release(struct model *model, struct namespace_entry *entry);
