/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What belongs to each Service, and which Services are dirty.
 *
 * A struct service_entry holds everything about one Service: the Service, its Endpoints (of the
 * same name), its EndpointSlices (which name it in a label) and whether it is dirty. The entry
 * exists as long as one of them does, in whatever order they arrive.
 *
 * Pods matter only to Services whose selector they match. Both are found by one label, so that
 * neither is compared with all others of its namespace: a Pod is listed at each of its labels, and
 * a Service at one of its selector's (struct label_entry).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/lookup.h"
#include "model/model.h"
#include "model/object.h"

/* An EndpointSlice, Node, Pod or ServiceCIDR. Its owner is the model. */
struct member {
	struct object *object;
	struct member *prev, *next; /* in the Service's slices */
	union {
		struct service_entry *service; /* EndpointSlice; NULL: belongs to none */
		struct pod_label *labels; /* Pod: as many as its object has; NULL: not linked */
	};
};

struct service_entry {
	struct object *service;
	struct object *endpoints;
	struct member *slices;
	struct service_entry *dirty_next;
	struct label_entry *listed_at;     /* NULL: has no selector */
	struct service_entry *prev, *next; /* among the Services that are listed there */
	struct service_entry *failed_prev, *failed_next;
	struct pod_slices *pod_slices; /* what service_index_slices last derived from Pods */
	int failed; /* the error of its last plan, while it is among the failed; or 0 */
	bool dirty;
	char key[]; /* namespace, 0, name, 0 */
};

/* A zeroed index is empty. */
struct service_index {
	struct lookup entries; /* struct service_entry */
	struct lookup labels;  /* struct label_entry */
	struct service_entry *dirty_first, *dirty_last;
	struct service_entry *failed; /* wait for service_index_retry_failed, or a change */
};

/* Identifies an object among those of its kind. */
struct object_key {
	const char *namespace_, *name;
};

uint32_t object_key_hash(const struct object_key *key);

/* The entry of a Service, or NULL. */
struct service_entry *service_index_find(const struct service_index *index, const char *namespace_,
					 const char *name);

/*
 * Stores a Service, or an Endpoints object, in place of the one of that name; takes ownership, also
 * on error. The Service becomes dirty. Returns 0 or -ENOMEM.
 */
int service_index_put_service(struct service_index *index, struct object *object);
int service_index_put_endpoints(struct service_index *index, struct object *object);

/* Removes the Service, or the Endpoints object, that the entry has. */
void service_index_remove_service(struct service_index *index, struct service_entry *entry);
void service_index_remove_endpoints(struct service_index *index, struct service_entry *entry);

/*
 * Adds a member to, or removes it from, the EndpointSlices of its Service or the Pods that Services
 * select; the Services that it concerns become dirty. Members of other kinds belong to none.
 * service_index_link() returns 0 or -ENOMEM.
 */
int service_index_link(struct service_index *index, struct member *member);
void service_index_unlink(struct service_index *index, struct member *member);

/* See the functions of these names in model.h. */
void service_index_mark_dirty(struct service_index *index, const char *namespace_,
			      const char *name);
void service_index_mark_all_dirty(struct service_index *index);
int service_index_drain_dirty(struct service_index *index, model_dirty_fn fn, void *context);
void service_index_each_failed(const struct service_index *index, model_failed_fn fn,
			       void *context);
void service_index_retry_failed(struct service_index *index);

/* See model_slices(). */
int service_index_slices(const struct service_index *index, struct service_entry *entry,
			 const struct slice_object ***ret_slices);

/* Frees the entries with their Services and Endpoints; the members are the caller's. */
void service_index_fini(struct service_index *index);
