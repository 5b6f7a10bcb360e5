/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Everything about one Service hangs on its struct service_entry: the Service, its Endpoints (which
 * have its name), its EndpointSlices (which name it in a label) and whether it is dirty. The entry
 * is there as long as one of them is, in whatever order they come. Pods concern the Services of
 * their namespace that have a selector and nothing else: those are listed in struct
 * namespace_entry.
 */
#include "model/model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "cleanup.h"
#include "lookup.h"
#include "model/derive.h"
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
	model_arrival_fn on_arrival; /* or NULL */
	void *arrival_context;
};

struct model *model_new(void)
{
	return calloc(1, sizeof(struct model));
}

/* What objects of one kind are found by. */
struct key {
	const char *namespace_, *name;
};

static uint32_t key_hash(const struct key *key)
{
	return lookup_hash(key->namespace_, strlen(key->namespace_)) * 31 +
	       lookup_hash(key->name, strlen(key->name));
}

static const char *entry_name(const struct service_entry *entry)
{
	return entry->key + strlen(entry->key) + 1;
}

static struct key object_key(const struct object *object)
{
	return (struct key){object->namespace_, object->name};
}

static bool entry_is(const void *item, const void *wanted)
{
	const struct service_entry *entry = item;
	const struct key *key = wanted;

	return !strcmp(entry->key, key->namespace_) && !strcmp(entry_name(entry), key->name);
}

static bool member_is(const void *item, const void *wanted)
{
	const struct member *member = item;
	const struct key *key = wanted;

	return !strcmp(member->object->name, key->name) &&
	       !strcmp(member->object->namespace_, key->namespace_);
}

static struct service_entry *service_find(const struct model *model, const char *namespace_,
					  const char *name)
{
	const struct key key = {namespace_, name};

	return lookup_find(&model->services, key_hash(&key), entry_is, &key);
}

static struct member *member_find(const struct model *model, enum object_kind kind,
				  const char *namespace_, const char *name)
{
	const struct key key = {namespace_, name};

	return lookup_find(&model->members[kind], key_hash(&key), member_is, &key);
}

/* The entry of that name, made where there is none; NULL where memory is short. */
static struct service_entry *service_ensure(struct model *model, const char *namespace_,
					    const char *name)
{
	struct service_entry *entry = service_find(model, namespace_, name);
	size_t namespace_size = strlen(namespace_) + 1, name_size = strlen(name) + 1;
	const struct key key = {namespace_, name};

	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + namespace_size + name_size);
	if (!entry)
		return NULL;
	memcpy(entry->key, namespace_, namespace_size);
	memcpy(entry->key + namespace_size, name, name_size);
	if (lookup_add(&model->services, key_hash(&key), entry))
		free(take_ptr(entry));
	return entry;
}

static struct namespace_entry *namespace_ensure(struct model *model, const char *name)
{
	struct namespace_entry *entry;
	bool no_memory = false;
	size_t len = strlen(name);

	HASH_FIND(hh, model->namespaces, name, len, entry);
	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + len + 1);
	if (!entry)
		return NULL;
	memcpy(entry->name, name, len);
	HASH_ADD_KEYPTR(hh, model->namespaces, entry->name, len, entry);
	if (no_memory)
		free(take_ptr(entry));
	return entry;
}

static void namespace_release(struct model *model, struct namespace_entry *entry)
{
	if (entry->pods || entry->selecting)
		return;
	HASH_DEL(model->namespaces, entry);
	free(entry);
}

static void derived_drop(struct service_entry *entry)
{
	if (entry->derived)
		derived_slices_fini(entry->derived);
	free(take_ptr(entry->derived));
}

static void selecting_leave(struct model *model, struct service_entry *entry)
{
	struct namespace_entry *namespace_ = take_ptr(entry->selecting_in);

	if (!namespace_)
		return;
	DL_DELETE(namespace_->selecting, entry);
	namespace_release(model, namespace_);
}

static int selecting_enter(struct model *model, struct service_entry *entry)
{
	entry->selecting_in = namespace_ensure(model, entry->key);
	if (!entry->selecting_in)
		return -ENOMEM;
	DL_APPEND(entry->selecting_in->selecting, entry);
	return 0;
}

/* Frees the entry if nothing needs it any more. */
static void service_release(struct model *model, struct service_entry *entry)
{
	struct key key;

	if (entry->service || entry->endpoints || entry->slices || entry->dirty)
		return;
	selecting_leave(model, entry);
	derived_drop(entry);
	key = (struct key){entry->key, entry_name(entry)};
	lookup_remove(&model->services, key_hash(&key), entry);
	free(entry);
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

/* A change of endpoints: without its Service it concerns nobody yet. */
static void endpoints_touch(struct model *model, struct service_entry *entry)
{
	if (entry->service)
		service_touch(model, entry);
}

static bool service_is_derived(const struct service_entry *entry)
{
	return entry->selecting_in && entry->service && !entry->slices && !entry->endpoints;
}

static void pod_touch(struct model *model, const struct namespace_entry *namespace_,
		      const struct object *pod)
{
	struct service_entry *entry;

	DL_FOREACH(namespace_->selecting, entry)
	{
		if (service_is_derived(entry) &&
		    labels_match(&pod->labels, &entry->service->service.selector))
			service_touch(model, entry);
	}
}

static int service_put(struct model *model, struct object *object)
{
	struct service_entry *entry = service_ensure(model, object->namespace_, object->name);

	if (!entry || (object->service.selector.count && !entry->selecting_in &&
		       selecting_enter(model, entry))) {
		if (entry)
			service_release(model, entry);
		object_free(object);
		return -ENOMEM;
	}
	if (!object->service.selector.count)
		selecting_leave(model, entry);
	derived_drop(entry);
	model->counts[OBJECT_SERVICE] += !entry->service;
	object_free(entry->service);
	entry->service = object;
	service_touch(model, entry);
	return 0;
}

static int endpoints_put(struct model *model, struct object *object)
{
	struct service_entry *entry = service_ensure(model, object->namespace_, object->name);

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

/* Takes a member out of its Service's or namespace's list; what it concerned becomes dirty. */
static void member_unlink(struct model *model, struct member *member)
{
	if (member->object->kind == OBJECT_ENDPOINT_SLICE && member->service) {
		struct service_entry *entry = take_ptr(member->service);

		DL_DELETE(entry->slices, member);
		endpoints_touch(model, entry);
		service_release(model, entry);
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
			service_ensure(model, object->namespace_, object->slice.service_name);
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
	const struct key key = object_key(member->object);

	member_unlink(model, member);
	lookup_remove(&model->members[kind], key_hash(&key), member);
	model->counts[kind]--;
	object_free(member->object);
	free(member);
}

static struct member *member_add(struct model *model, struct object *object)
{
	auto_cleanup(cleanup_free) struct member *member = calloc(1, sizeof(*member));
	const struct key key = object_key(object);

	if (!member)
		return NULL;
	member->object = object;
	if (lookup_add(&model->members[object->kind], key_hash(&key), member))
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
	selecting_leave(model, entry);
	derived_drop(entry);
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
	service_release(model, entry);
}

void model_remove(struct model *model, enum object_kind kind, const char *namespace_,
		  const char *name)
{
	if (model_get(model, kind, namespace_, name))
		model->changes[kind]++;
	if (kind == OBJECT_SERVICE || kind == OBJECT_ENDPOINTS) {
		struct service_entry *entry = service_find(model, namespace_, name);

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
		const struct service_entry *entry = service_find(model, namespace_, name);

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

/* Rule A3: kube-proxy's watch does not see such an object, whatever the label's value is. */
static bool object_is_hidden(const struct object *object)
{
	return labels_get(&object->labels, LABEL_PROXY_NAME) ||
	       labels_get(&object->labels, LABEL_HEADLESS);
}

static int slices_of_members(const struct service_entry *entry,
			     const struct slice_object ***ret_slices)
{
	const struct slice_object **slices;
	const struct member *member;
	int count = 0;

	DL_COUNT(entry->slices, member, count);
	slices = malloc((size_t)(count + 1) * sizeof(struct slice_object *));
	if (!slices)
		return -ENOMEM;
	count = 0;
	DL_FOREACH(entry->slices, member)
	{
		if (!object_is_hidden(member->object) && member->object->slice.family)
			slices[count++] = &member->object->slice;
	}
	*ret_slices = slices;
	return count;
}

static int slices_of_array(const struct slice_object *items, size_t count,
			   const struct slice_object ***ret_slices)
{
	const struct slice_object **slices = malloc((count + 1) * sizeof(struct slice_object *));

	if (!slices)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		slices[i] = &items[i];
	*ret_slices = slices;
	return (int)count;
}

static int slices_of_pods(struct service_entry *entry, const struct slice_object ***ret_slices)
{
	const struct namespace_entry *namespace_ = entry->selecting_in;
	auto_cleanup(cleanup_free) const struct object **pods =
		malloc((namespace_->pod_count + 1) * sizeof(struct object *));
	const struct member *member;
	size_t count = 0;
	int err;

	derived_drop(entry);
	entry->derived = calloc(1, sizeof(*entry->derived));
	if (!pods || !entry->derived)
		return -ENOMEM;
	DL_FOREACH(namespace_->pods, member)
	{
		pods[count++] = member->object;
	}
	err = derive_slices(entry->service, pods, count, entry->derived);
	if (err)
		return err;
	return slices_of_array(entry->derived->items, entry->derived->count, ret_slices);
}

int model_slices(struct model *model, const struct object *service,
		 const struct slice_object ***ret_slices)
{
	struct service_entry *entry = service_find(model, service->namespace_, service->name);

	*ret_slices = NULL;
	if (!entry)
		return 0;
	if (entry->slices)
		return slices_of_members(entry, ret_slices);
	if (entry->endpoints)
		return object_is_hidden(entry->endpoints)
			       ? 0
			       : slices_of_array(entry->endpoints->endpoints.slices,
						 entry->endpoints->endpoints.slice_count,
						 ret_slices);
	if (service_is_derived(entry))
		return slices_of_pods(entry, ret_slices);
	return 0;
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
		service_release(model, entry);
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

/* No links are followed: everything goes. */
static void services_free(struct model *model)
{
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&model->services, &position))) {
		object_free(entry->service);
		object_free(entry->endpoints);
		derived_drop(entry);
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
