/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/service_index.h"

struct model {
	struct service_index services;            /* with their Endpoints */
	struct lookup members[OBJECT_KIND_COUNT]; /* of all other kinds */
	size_t counts[OBJECT_KIND_COUNT];
	uint64_t changes[OBJECT_KIND_COUNT];
	bool is_listed[OBJECT_KIND_COUNT];
	model_arrival_fn on_arrival; /* or NULL */
	void *arrival_context;
};

struct model *model_new(void)
{
	return calloc(1, sizeof(struct model));
}

static bool member_has_key(const void *item, const void *wanted)
{
	const struct member *member = item;
	const struct object_key *key = wanted;

	return !strcmp(member->object->name, key->name) &&
	       !strcmp(member->object->namespace_, key->namespace_);
}

static struct member *member_find(const struct model *model, enum object_kind kind,
				  const char *namespace_, const char *name)
{
	const struct object_key key = {namespace_, name};

	return lookup_find(&model->members[kind], object_key_hash(&key), member_has_key, &key);
}

static void member_delete(struct model *model, struct member *member)
{
	enum object_kind kind = member->object->kind;
	const struct object_key key = {member->object->namespace_, member->object->name};

	service_index_unlink(&model->services, member);
	lookup_remove(&model->members[kind], object_key_hash(&key), member);
	model->counts[kind]--;
	object_free(member->object);
	free(member);
}

static struct member *member_add(struct model *model, struct object *object)
{
	auto_cleanup(cleanup_free) struct member *member = calloc(1, sizeof(*member));
	const struct object_key key = {object->namespace_, object->name};

	if (!member)
		return NULL;
	member->object = object;
	if (lookup_add(&model->members[object->kind], object_key_hash(&key), member))
		return NULL;
	model->counts[object->kind]++;
	return take_ptr(member);
}

static int member_put(struct model *model, struct object *object)
{
	struct member *member = member_find(model, object->kind, object->namespace_, object->name);

	if (!member) {
		member = member_add(model, object);
		if (!member) {
			object_free(object);
			return -ENOMEM;
		}
	} else {
		service_index_unlink(&model->services, member);
		object_free(member->object);
		member->object = object;
	}
	if (!service_index_link(&model->services, member))
		return 0;
	member_delete(model, member);
	return -ENOMEM;
}

static int model_store(struct model *model, struct object *object, bool is_change)
{
	struct object *known =
		(struct object *)model_get(model, object->kind, object->namespace_, object->name);
	enum object_kind kind = object->kind;
	bool is_new = !known;
	int err;

	if (known && object_equal(known, object)) {
		known->origin = object->origin;
		known->line = object->line;
		object_free(object);
		return 0;
	}
	model->changes[kind] += is_change;
	if (is_change && model->on_arrival)
		model->on_arrival(object, model->arrival_context);
	if (kind != OBJECT_SERVICE && kind != OBJECT_ENDPOINTS)
		return member_put(model, object);
	err = kind == OBJECT_SERVICE ? service_index_put_service(&model->services, object)
				     : service_index_put_endpoints(&model->services, object);
	if (err)
		return err;
	model->counts[kind] += is_new;
	return 0;
}

int model_put(struct model *model, struct object *object)
{
	return model_store(model, object, true);
}

int model_complete(struct model *model, struct object *object)
{
	return model_store(model, object, false);
}

void model_on_arrival(struct model *model, model_arrival_fn fn, void *context)
{
	model->on_arrival = fn;
	model->arrival_context = context;
}

void model_remove(struct model *model, enum object_kind kind, const char *namespace_,
		  const char *name)
{
	struct service_entry *entry;

	if (!model_get(model, kind, namespace_, name))
		return;
	model->changes[kind]++;
	if (kind != OBJECT_SERVICE && kind != OBJECT_ENDPOINTS) {
		member_delete(model, member_find(model, kind, namespace_, name));
		return;
	}
	model->counts[kind]--;
	entry = service_index_find(&model->services, namespace_, name);
	if (kind == OBJECT_SERVICE)
		service_index_remove_service(&model->services, entry);
	else
		service_index_remove_endpoints(&model->services, entry);
}

const struct object *model_get(const struct model *model, enum object_kind kind,
			       const char *namespace_, const char *name)
{
	const struct service_entry *entry;
	const struct member *member;

	if (kind != OBJECT_SERVICE && kind != OBJECT_ENDPOINTS) {
		member = member_find(model, kind, namespace_, name);
		return member ? member->object : NULL;
	}
	entry = service_index_find(&model->services, namespace_, name);
	if (!entry)
		return NULL;
	return kind == OBJECT_SERVICE ? entry->service : entry->endpoints;
}

static int object_copy(struct model *model, const struct object *object)
{
	struct object *copy = object_new(object);

	return copy ? model_put(model, copy) : -ENOMEM;
}

/* Removes the Service's slices that `other` does not have, or has as another Service's. */
static void slices_remove_others(struct model *model, const struct model *other,
				 const struct service_entry *entry)
{
	const struct member *member = entry->slices, *next;

	for (; member; member = next) {
		const struct object *slice = member->object;
		const struct object *now =
			model_get(other, OBJECT_ENDPOINT_SLICE, slice->namespace_, slice->name);

		next = member->next;
		if (!now || !now->slice.service_name ||
		    strcmp(now->slice.service_name, slice->slice.service_name))
			model_remove(model, OBJECT_ENDPOINT_SLICE, slice->namespace_, slice->name);
	}
}

int model_copy_service(struct model *model, const struct model *other, const char *namespace_,
		       const char *name)
{
	static const enum object_kind kinds[] = {OBJECT_SERVICE, OBJECT_ENDPOINTS};
	const struct service_entry *known = service_index_find(&model->services, namespace_, name);
	const struct service_entry *wanted = service_index_find(&other->services, namespace_, name);
	int err = 0;

	if (known)
		slices_remove_others(model, other, known);
	for (const struct member *member = wanted ? wanted->slices : NULL; member && !err;
	     member = member->next)
		err = object_copy(model, member->object);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !err; i++) {
		const struct object *object = model_get(other, kinds[i], namespace_, name);

		if (object)
			err = object_copy(model, object);
		else
			model_remove(model, kinds[i], namespace_, name);
	}
	return err;
}

const struct object *model_service(const struct model *model, const char *namespace_,
				   const char *name)
{
	return model_get(model, OBJECT_SERVICE, namespace_, name);
}

const struct object *model_node(const struct model *model, const char *name)
{
	return model_get(model, OBJECT_NODE, "", name);
}

int model_slices(struct model *model, const struct object *service,
		 const struct slice_object ***ret_slices)
{
	struct service_entry *entry =
		service_index_find(&model->services, service->namespace_, service->name);

	*ret_slices = NULL;
	return entry ? service_index_slices(&model->services, entry, ret_slices) : 0;
}

void model_mark_dirty(struct model *model, const char *namespace_, const char *name)
{
	service_index_mark_dirty(&model->services, namespace_, name);
}

void model_mark_all_dirty(struct model *model)
{
	service_index_mark_all_dirty(&model->services);
}

int model_drain_dirty(struct model *model, model_dirty_fn fn, void *context)
{
	return service_index_drain_dirty(&model->services, fn, context);
}

void model_each_failed(const struct model *model, model_failed_fn fn, void *context)
{
	service_index_each_failed(&model->services, fn, context);
}

void model_retry_failed(struct model *model)
{
	service_index_retry_failed(&model->services);
}

size_t model_count(const struct model *model, enum object_kind kind)
{
	return model->counts[kind];
}

uint64_t model_changes(const struct model *model, enum object_kind kind)
{
	return model->changes[kind];
}

void model_set_listed(struct model *model, enum object_kind kind)
{
	model->is_listed[kind] = true;
}

bool model_is_listed(const struct model *model, enum object_kind kind)
{
	return model->is_listed[kind];
}

static int model_each_member(struct model *model, enum object_kind kind, model_object_fn fn,
			     void *context)
{
	struct member *member;
	uint32_t position = 0;

	while ((member = lookup_next(&model->members[kind], &position))) {
		int err = fn(member->object, context);

		if (err)
			return err;
	}
	return 0;
}

int model_each(struct model *model, enum object_kind kind, model_object_fn fn, void *context)
{
	struct service_entry *entry;
	uint32_t position = 0;

	if (kind != OBJECT_SERVICE && kind != OBJECT_ENDPOINTS)
		return model_each_member(model, kind, fn, context);
	while ((entry = lookup_next(&model->services.entries, &position))) {
		const struct object *object =
			kind == OBJECT_SERVICE ? entry->service : entry->endpoints;
		int err = object ? fn(object, context) : 0;

		if (err)
			return err;
	}
	return 0;
}

static void members_free(struct lookup *members)
{
	struct member *member;
	uint32_t position = 0;

	while ((member = lookup_next(members, &position))) {
		if (member->object->kind == OBJECT_POD)
			free(member->labels);
		object_free(member->object);
		free(member);
	}
	lookup_fini(members);
}

void model_free(struct model *model)
{
	if (!model)
		return;
	service_index_fini(&model->services);
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		members_free(&model->members[kind]);
	free(model);
}
