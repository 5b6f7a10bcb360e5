/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The model: the current objects of the source, and the Services that changes have made dirty. The
 * source writes it, the plan reads it. The work for a change is proportional to the change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/object.h"

struct model;

struct model *model_new(void);
void model_free(struct model *model);

/*
 * Stores an object in place of the one with its kind, namespace and name, and takes ownership of
 * it, also on error. The object must be packed (object_new). If it equals the one it replaces,
 * nothing becomes dirty. Returns 0 or -ENOMEM. Silent.
 */
int model_put(struct model *model, struct object *object);

/*
 * The same for an object of the model to which we have added what it left open: nobody has changed
 * it, so it does not count as a change, nor as an arrival.
 */
int model_complete(struct model *model, struct object *object);

/* Called with an object that is about to enter the model, new or changed. Borrowed. */
typedef void (*model_arrival_fn)(const struct object *object, void *context);

/* Calls `fn` for each such object from now on; replaces an earlier function. */
void model_on_arrival(struct model *model, model_arrival_fn fn, void *context);

/* Removes an object; does nothing where there is none. */
void model_remove(struct model *model, enum object_kind kind, const char *namespace_,
		  const char *name);

/*
 * Makes a Service with its EndpointSlices and its Endpoints in `model` what they are in `other`: a
 * copy of each, and nothing that `other` does not have. Returns 0 or -ENOMEM. Silent.
 */
int model_copy_service(struct model *model, const struct model *other, const char *namespace_,
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
 * the slices of its Endpoints object; what the endpoint controller would derive from the Pods that
 * it selects. Fills `ret_slices` with borrowed pointers, in an array that the caller frees. Returns
 * the count or -ENOMEM. Slices with a label that assigns them to another proxy are left out (rule
 * A3). The slices stay valid until the next put or remove, or the next call for the same Service.
 */
int model_slices(struct model *model, const struct object *service,
		 const struct slice_object ***ret_slices);

/*
 * Makes one Service dirty, or every one, in no particular order: for changes that plans depend on
 * and that the model does not hold, such as room in the maps, or the addresses of the node.
 */
void model_mark_dirty(struct model *model, const char *namespace_, const char *name);
void model_mark_all_dirty(struct model *model);

/* Called with a Service that may need a new plan; it may no longer exist. */
typedef int (*model_dirty_fn)(const char *namespace_, const char *name, void *context);

/*
 * Calls `fn` for each dirty Service and marks it clean. One for which it fails is set aside until
 * it changes or model_retry_failed() is called, and holds up no other; returns the first error.
 * `fn` must not change the model.
 */
int model_drain_dirty(struct model *model, model_dirty_fn fn, void *context);

/* Called with a Service that is set aside, and the error. */
typedef void (*model_failed_fn)(const char *namespace_, const char *name, int err, void *context);

/* Calls `fn` for each Service that is set aside. */
void model_each_failed(const struct model *model, model_failed_fn fn, void *context);

/* Makes the Services that are set aside dirty again. */
void model_retry_failed(struct model *model);

size_t model_count(const struct model *model, enum object_kind kind);

/* How many times an object of that kind was added, removed or changed in a field that we keep. */
uint64_t model_changes(const struct model *model, enum object_kind kind);

/*
 * model_set_listed() records that the source has listed all objects of a kind: from then on, an
 * object that the model does not hold does not exist. For what is removed only then.
 */
void model_set_listed(struct model *model, enum object_kind kind);
bool model_is_listed(const struct model *model, enum object_kind kind);

/* Called with an object, borrowed. A result other than 0 ends the walk. */
typedef int (*model_object_fn)(const struct object *object, void *context);

/*
 * Calls `fn` for each object of that kind, in no particular order; `fn` may remove the object it
 * was called with, and no other. Returns the last result of `fn`.
 */
int model_each(struct model *model, enum object_kind kind, model_object_fn fn, void *context);
