/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The model: all objects of the source as they are now, and which Services a change has made dirty.
 * The source writes it, the plan reads it. Work for a change depends on the change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/object.h"

struct model;

struct model *model_new(void);
void model_free(struct model *model);

/*
 * Puts an object in place of the one with its kind, namespace and name, and takes ownership, also
 * on error. It must be packed (object_new). An object equal to the one it replaces makes nothing
 * dirty. Returns 0 or -ENOMEM. Silent.
 */
int model_put(struct model *model, struct object *object);

/* Called with an object that is about to come into the model, new or changed. Borrowed. */
typedef void (*model_arrival_fn)(const struct object *object, void *context);

/* Has `fn` called for each of them from now on; there is one such function at most. */
void model_on_arrival(struct model *model, model_arrival_fn fn, void *context);

/* Removes an object; does nothing where there is none. */
void model_remove(struct model *model, enum object_kind kind, const char *namespace_,
		  const char *name);

/*
 * The Service `namespace_/name`, or NULL. Borrowed until the next put or remove.
 */
const struct object *model_service(const struct model *model, const char *namespace_,
				   const char *name);

/* The Node of that name, or NULL. Borrowed. */
const struct object *model_node(const struct model *model, const char *name);

/*
 * The object of that kind, namespace ("" for a Node and a ServiceCIDR) and name, or NULL. Borrowed
 * as above.
 */
const struct object *model_get(const struct model *model, enum object_kind kind,
			       const char *namespace_, const char *name);

/*
 * The slices that a Service's endpoints come from, in this order of preference: its EndpointSlices;
 * the slices of its Endpoints object; what the endpoint controller would make of the Pods that its
 * selector selects. Fills `ret_slices` with borrowed pointers, in an array the caller frees.
 * Returns the count or -ENOMEM. Slices that carry a label that hands them to another proxy are left
 * out (rule A3). The slices stay valid until the next put or remove, or the next call for the same
 * Service.
 */
int model_slices(struct model *model, const struct object *service,
		 const struct slice_object ***ret_slices);

/* Makes every Service dirty, in no particular order: a change of the Node's labels or addresses. */
void model_touch_all(struct model *model);

/* Called with a Service that may need another plan; it may not exist any more. */
typedef int (*model_dirty_fn)(const char *namespace_, const char *name, void *context);

/*
 * Calls `fn` for each dirty Service and makes it clean; stops at the first error, which it returns,
 * and leaves that Service and the rest dirty. `fn` must not change the model.
 */
int model_drain_dirty(struct model *model, model_dirty_fn fn, void *context);

bool model_is_dirty(const struct model *model);

size_t model_count(const struct model *model, enum object_kind kind);

/* How often an object of that kind has come, gone or changed in what we keep of it. */
uint64_t model_changes(const struct model *model, enum object_kind kind);

/*
 * Whether the source has told all objects of a kind: from then on what the model does not hold does
 * not exist. For what is removed only then.
 */
void model_note_listed(struct model *model, enum object_kind kind);
bool model_is_listed(const struct model *model, enum object_kind kind);

/* Called with an object, borrowed. Returns 0, or what ends the walk. */
typedef int (*model_object_fn)(const struct object *object, void *context);

/*
 * Calls `fn` for each object of that kind, in no particular order; `fn` may remove the object it is
 * given, and no other. Returns what `fn` returned last.
 */
int model_each(struct model *model, enum object_kind kind, model_object_fn fn, void *context);
