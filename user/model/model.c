/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/model.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "model/service_index.h"

struct model *model_new(void)
{
	return calloc(1, sizeof(struct model));
}

static void service_touch(struct model *model, struct service_entry *entry)
{
	if (entry->dirty)
		return;
	entry->dirty = true;
	if (model->dirty_last)
		model->dirty_last->dirty_next = entry;
	else
		model->dirty_first = entry;
	model->dirty_last = entry;
}

/* Endpoints have changed: without its Service, an entry needs no plan yet. */
static void endpoints_touch(struct model *model, struct service_entry *entry)
{
	if (entry->service)
		service_touch(model, entry);
}

static void pod_touch(struct model *model, const struct namespace_entry *namespace_,
		      const struct object *pod)
{
	struct service_entry *entry;

	DL_FOREACH(namespace_->selecting, entry)
	{
		if (entry_is_derived(entry) &&
		    labels_match(&pod->labels, &entry->service->service.selector))
			service_touch(model, entry);
	}
}

static int service_put(struct model *model, struct object *object)
{
	struct service_entry *entry = entry_ensure(model, object->namespace_, object->name);

	if (!entry || (object->service.selector.count && !entry->selecting_in &&
		       entry_begin_selecting(model, entry))) {
		if (entry)
			entry_release(model, entry);
		object_free(object);
		return -ENOMEM;
	}
	if (!object->service.selector.count)
		entry_end_selecting(model, entry);
	entry_drop_derived(entry);
	model->counts[OBJECT_SERVICE] += !entry->service;
	object_free(entry->service);
	entry->service = object;
	service_touch(model, entry);
	return 0;
}

static int endpoints_put(struct model *model, struct object *object)
{
	struct service_entry *entry = entry_ensure(model, object->namespace_, object->name);

	if (!entry) {
		object_free(object);
		return -ENOMEM;
	}
	model->counts[OBJECT_ENDPOINTS] += !entry->endpoints;
	object_free(entry->endpoints);
	entry->endpoints = object;
	if (!entry->slices)
		endpoints_touch(model, entry);
	return 0;
}

/* Removes a member from the list it is in; the Services it concerned become dirty. */
static void member_unlink(struct model *model, struct member *member)
{
	if (member->object->kind == OBJECT_ENDPOINT_SLICE && member->service) {
		struct service_entry *entry = take_ptr(member->service);

		DL_DELETE(entry->slices, member);
		endpoints_touch(model, entry);
		entry_release(model, entry);
	} else if (member->object->kind == OBJECT_POD && member->namespace_) {
		struct namespace_entry *entry = take_ptr(member->namespace_);

		DL_DELETE(entry->pods, member);
		entry->pod_count--;
		pod_touch(model, entry, member->object);
		namespace_release(model, entry);
	}
}

static int member_link(struct model *model, struct member *member)
{
	const struct object *object = member->object;

	if (object->kind == OBJECT_ENDPOINT_SLICE && object->slice.service_name) {
		member->service =
			entry_ensure(model, object->namespace_, object->slice.service_name);
		if (!member->service)
			return -ENOMEM;
		DL_APPEND(member->service->slices, member);
		endpoints_touch(model, member->service);
	} else if (object->kind == OBJECT_POD) {
		member->namespace_ = namespace_ensure(model, object->namespace_);
		if (!member->namespace_)
			return -ENOMEM;
		DL_APPEND(member->namespace_->pods, member);
		member->namespace_->pod_count++;
		pod_touch(model, member->namespace_, object);
	}
	return 0;
}

static void member_delete(struct model *model, struct member *member)
{
	enum object_kind kind = member->object->kind;
	const struct object_key key = object_key(member->object);

	member_unlink(model, member);
	lookup_remove(&model->members[kind], object_key_hash(&key), member);
	model->counts[kind]--;
	object_free(member->object);
	free(member);
}

static struct member *member_add(struct model *model, struct object *object)
{
	auto_cleanup(cleanup_free) struct member *member = calloc(1, sizeof(*member));
	const struct object_key key = object_key(object);

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
		member_unlink(model, member);
		object_free(member->object);
		member->object = object;
	}
	if (!member_link(model, member))
		return 0;
	member_delete(model, member);
	return -ENOMEM;
}

int model_put(struct model *model, struct object *object)
{
	struct object *known =
		(struct object *)model_get(model, object->kind, object->namespace_, object->name);

	if (known && object_equal(known, object)) {
		known->origin = object->origin;
		object_free(object);
		return 0;
	}
	model->changes[object->kind]++;
	if (model->on_arrival)
		model->on_arrival(object, model->arrival_context);
	switch (object->kind) {
	case OBJECT_SERVICE:
		return service_put(model, object);
	case OBJECT_ENDPOINTS:
		return endpoints_put(model, object);
	default:
		return member_put(model, object);
	}
}

void model_on_arrival(struct model *model, model_arrival_fn fn, void *context)
{
	model->on_arrival = fn;
	model->arrival_context = context;
}

static void service_remove(struct model *model, struct service_entry *entry)
{
	if (!entry->service)
		return;
	object_free(take_ptr(entry->service));
	model->counts[OBJECT_SERVICE]--;
	entry_end_selecting(model, entry);
	entry_drop_derived(entry);
	service_touch(model, entry);
}

static void endpoints_remove(struct model *model, struct service_entry *entry)
{
	if (!entry->endpoints)
		return;
	object_free(take_ptr(entry->endpoints));
	model->counts[OBJECT_ENDPOINTS]--;
	if (!entry->slices)
		endpoints_touch(model, entry);
	entry_release(model, entry);
}

void model_remove(struct model *model, enum object_kind kind, const char *namespace_,
		  const char *name)
{
	if (model_get(model, kind, namespace_, name))
		model->changes[kind]++;
	if (kind == OBJECT_SERVICE || kind == OBJECT_ENDPOINTS) {
		struct service_entry *entry = entry_find(model, namespace_, name);

		if (entry && kind == OBJECT_SERVICE)
			service_remove(model, entry);
		else if (entry)
			endpoints_remove(model, entry);
	} else {
		struct member *member = member_find(model, kind, namespace_, name);

		if (member)
			member_delete(model, member);
	}
}

const struct object *model_get(const struct model *model, enum object_kind kind,
			       const char *namespace_, const char *name)
{
	if (kind == OBJECT_SERVICE || kind == OBJECT_ENDPOINTS) {
		const struct service_entry *entry = entry_find(model, namespace_, name);

		if (!entry)
			return NULL;
		return kind == OBJECT_SERVICE ? entry->service : entry->endpoints;
	} else {
		const struct member *member = member_find(model, kind, namespace_, name);

		return member ? member->object : NULL;
	}
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

void model_touch_all(struct model *model)
{
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&model->services, &position))) {
		if (entry->service)
			service_touch(model, entry);
	}
}

int model_drain_dirty(struct model *model, model_dirty_fn fn, void *context)
{
	while (model->dirty_first) {
		struct service_entry *entry = model->dirty_first;
		int err = fn(entry->key, entry_name(entry), context);

		if (err)
			return err;
		model->dirty_first = take_ptr(entry->dirty_next);
		if (!model->dirty_first)
			model->dirty_last = NULL;
		entry->dirty = false;
		entry_release(model, entry);
	}
	return 0;
}

bool model_is_dirty(const struct model *model)
{
	return model->dirty_first;
}

size_t model_count(const struct model *model, enum object_kind kind)
{
	return model->counts[kind];
}

uint64_t model_changes(const struct model *model, enum object_kind kind)
{
	return model->changes[kind];
}

void model_note_listed(struct model *model, enum object_kind kind)
{
	model->is_listed[kind] = true;
}

bool model_is_listed(const struct model *model, enum object_kind kind)
{
	return model->is_listed[kind];
}

static int each_member(struct model *model, enum object_kind kind, model_object_fn fn,
		       void *context)
{
	struct member *member;
	uint32_t position = 0;
	int err = 0;

	while ((member = lookup_next(&model->members[kind], &position))) {
		err = fn(member->object, context);
		if (err)
			break;
	}
	return err;
}

int model_each(struct model *model, enum object_kind kind, model_object_fn fn, void *context)
{
	struct service_entry *entry;
	uint32_t position = 0;
	int err = 0;

	if (kind != OBJECT_SERVICE && kind != OBJECT_ENDPOINTS)
		return each_member(model, kind, fn, context);
	while ((entry = lookup_next(&model->services, &position))) {
		const struct object *object =
			kind == OBJECT_SERVICE ? entry->service : entry->endpoints;

		err = object ? fn(object, context) : 0;
		if (err)
			break;
	}
	return err;
}

/* Ignores the links to other entries: all of them are freed. */
static void services_free(struct model *model)
{
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&model->services, &position))) {
		object_free(entry->service);
		object_free(entry->endpoints);
		entry_drop_derived(entry);
		free(entry);
	}
	lookup_fini(&model->services);
}

static void members_free(struct lookup *members)
{
	struct member *member;
	uint32_t position = 0;

	while ((member = lookup_next(members, &position))) {
		object_free(member->object);
		free(member);
	}
	lookup_fini(members);
}

void model_free(struct model *model)
{
	struct namespace_entry *namespace_, *next;

	if (!model)
		return;
	services_free(model);
	for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		members_free(&model->members[kind]);
	HASH_ITER (hh, model->namespaces, namespace_, next) {
		HASH_DEL(model->namespaces, namespace_);
		free(namespace_);
	}
	free(model);
}
