/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/service_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "model/pod_slices.h"
#include "base/uthash.h"

struct namespace_entry {
	struct member *pods;
	size_t pod_count;
	struct service_entry *selecting; /* the Services with a selector */
	UT_hash_handle hh;
	char name[];
};

uint32_t object_key_hash(const struct object_key *key)
{
	return lookup_hash(key->namespace_, strlen(key->namespace_)) * 31 +
	       lookup_hash(key->name, strlen(key->name));
}

static struct object_key entry_key(const struct service_entry *entry)
{
	return (struct object_key){entry->key, entry->key + strlen(entry->key) + 1};
}

static bool entry_has_key(const void *item, const void *wanted)
{
	const struct object_key key = entry_key(item), *other = wanted;

	return !strcmp(key.namespace_, other->namespace_) && !strcmp(key.name, other->name);
}

struct service_entry *service_index_find(const struct service_index *index, const char *namespace_,
					 const char *name)
{
	const struct object_key key = {namespace_, name};

	return lookup_find(&index->entries, object_key_hash(&key), entry_has_key, &key);
}

static struct service_entry *entry_get_or_add(struct service_index *index, const char *namespace_,
					      const char *name)
{
	struct service_entry *entry = service_index_find(index, namespace_, name);
	size_t namespace_size = strlen(namespace_) + 1, name_size = strlen(name) + 1;
	const struct object_key key = {namespace_, name};

	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + namespace_size + name_size);
	if (!entry)
		return NULL;
	memcpy(entry->key, namespace_, namespace_size);
	memcpy(entry->key + namespace_size, name, name_size);
	if (lookup_add(&index->entries, object_key_hash(&key), entry))
		free(take_ptr(entry));
	return entry;
}

static struct namespace_entry *namespace_get_or_add(struct service_index *index, const char *name)
{
	struct namespace_entry *entry;
	bool no_memory = false;
	size_t len = strlen(name);

	HASH_FIND(hh, index->namespaces, name, len, entry);
	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + len + 1);
	if (!entry)
		return NULL;
	memcpy(entry->name, name, len);
	HASH_ADD_KEYPTR(hh, index->namespaces, entry->name, len, entry);
	if (no_memory)
		free(take_ptr(entry));
	return entry;
}

/* Frees the namespace's entry if nothing needs it any more. */
static void namespace_release(struct service_index *index, struct namespace_entry *entry)
{
	if (entry->pods || entry->selecting)
		return;
	HASH_DEL(index->namespaces, entry);
	free(entry);
}

static void entry_free_pod_slices(struct service_entry *entry)
{
	if (entry->pod_slices)
		pod_slices_fini(entry->pod_slices);
	free(take_ptr(entry->pod_slices));
}

/* For a Service that gains or loses its selector. */
static int entry_begin_selecting(struct service_index *index, struct service_entry *entry)
{
	entry->selecting_in = namespace_get_or_add(index, entry->key);
	if (!entry->selecting_in)
		return -ENOMEM;
	DL_APPEND(entry->selecting_in->selecting, entry);
	return 0;
}

static void entry_end_selecting(struct service_index *index, struct service_entry *entry)
{
	struct namespace_entry *namespace_ = take_ptr(entry->selecting_in);

	if (!namespace_)
		return;
	DL_DELETE(namespace_->selecting, entry);
	namespace_release(index, namespace_);
}

/* Frees the entry if nothing needs it any more. */
static void entry_release(struct service_index *index, struct service_entry *entry)
{
	struct object_key key;

	if (entry->service || entry->endpoints || entry->slices || entry->dirty || entry->failed)
		return;
	entry_end_selecting(index, entry);
	entry_free_pod_slices(entry);
	key = entry_key(entry);
	lookup_remove(&index->entries, object_key_hash(&key), entry);
	free(entry);
}

/* True if the Service's endpoints are derived from Pods. */
static bool entry_uses_pods(const struct service_entry *entry)
{
	return entry->selecting_in && entry->service && !entry->slices && !entry->endpoints;
}

static void entry_touch(struct service_index *index, struct service_entry *entry)
{
	if (entry->dirty)
		return;
	entry->dirty = true;
	if (index->dirty_last)
		index->dirty_last->dirty_next = entry;
	else
		index->dirty_first = entry;
	index->dirty_last = entry;
}

/* Endpoints have changed: without its Service, an entry needs no plan yet. */
static void entry_touch_endpoints(struct service_index *index, struct service_entry *entry)
{
	if (entry->service)
		entry_touch(index, entry);
}

/* A Pod has come, gone or changed: touches the Services that select it. */
static void namespace_touch(struct service_index *index, const struct namespace_entry *namespace_,
			    const struct object *pod)
{
	struct service_entry *entry;

	DL_FOREACH(namespace_->selecting, entry)
	{
		if (entry_uses_pods(entry) &&
		    labels_match(&pod->labels, &entry->service->service.selector))
			entry_touch(index, entry);
	}
}

int service_index_put_service(struct service_index *index, struct object *object)
{
	struct service_entry *entry = entry_get_or_add(index, object->namespace_, object->name);

	if (!entry || (object->service.selector.count && !entry->selecting_in &&
		       entry_begin_selecting(index, entry))) {
		if (entry)
			entry_release(index, entry);
		object_free(object);
		return -ENOMEM;
	}
	if (!object->service.selector.count)
		entry_end_selecting(index, entry);
	entry_free_pod_slices(entry);
	object_free(entry->service);
	entry->service = object;
	entry_touch(index, entry);
	return 0;
}

int service_index_put_endpoints(struct service_index *index, struct object *object)
{
	struct service_entry *entry = entry_get_or_add(index, object->namespace_, object->name);

	if (!entry) {
		object_free(object);
		return -ENOMEM;
	}
	object_free(entry->endpoints);
	entry->endpoints = object;
	if (!entry->slices)
		entry_touch_endpoints(index, entry);
	return 0;
}

void service_index_remove_service(struct service_index *index, struct service_entry *entry)
{
	object_free(take_ptr(entry->service));
	entry_end_selecting(index, entry);
	entry_free_pod_slices(entry);
	entry_touch(index, entry);
}

void service_index_remove_endpoints(struct service_index *index, struct service_entry *entry)
{
	object_free(take_ptr(entry->endpoints));
	if (!entry->slices)
		entry_touch_endpoints(index, entry);
	entry_release(index, entry);
}

int service_index_link(struct service_index *index, struct member *member)
{
	const struct object *object = member->object;

	if (object->kind == OBJECT_ENDPOINT_SLICE && object->slice.service_name) {
		member->service =
			entry_get_or_add(index, object->namespace_, object->slice.service_name);
		if (!member->service)
			return -ENOMEM;
		DL_APPEND(member->service->slices, member);
		entry_touch_endpoints(index, member->service);
	} else if (object->kind == OBJECT_POD) {
		member->namespace_ = namespace_get_or_add(index, object->namespace_);
		if (!member->namespace_)
			return -ENOMEM;
		DL_APPEND(member->namespace_->pods, member);
		member->namespace_->pod_count++;
		namespace_touch(index, member->namespace_, object);
	}
	return 0;
}

void service_index_unlink(struct service_index *index, struct member *member)
{
	if (member->object->kind == OBJECT_ENDPOINT_SLICE && member->service) {
		struct service_entry *entry = take_ptr(member->service);

		DL_DELETE(entry->slices, member);
		entry_touch_endpoints(index, entry);
		entry_release(index, entry);
	} else if (member->object->kind == OBJECT_POD && member->namespace_) {
		struct namespace_entry *entry = take_ptr(member->namespace_);

		DL_DELETE(entry->pods, member);
		entry->pod_count--;
		namespace_touch(index, entry, member->object);
		namespace_release(index, entry);
	}
}

void service_index_mark_dirty(struct service_index *index, const char *namespace_, const char *name)
{
	struct service_entry *entry = service_index_find(index, namespace_, name);

	if (entry)
		entry_touch(index, entry);
}

void service_index_mark_all_dirty(struct service_index *index)
{
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&index->entries, &position))) {
		if (entry->service)
			entry_touch(index, entry);
	}
}

/* The Service has been planned; with an error, it joins the failed. */
static void entry_set_failed(struct service_index *index, struct service_entry *entry, int err)
{
	if (err && !entry->failed)
		DL_APPEND2(index->failed, entry, failed_prev, failed_next);
	else if (!err && entry->failed)
		DL_DELETE2(index->failed, entry, failed_prev, failed_next);
	entry->failed = err;
}

int service_index_drain_dirty(struct service_index *index, model_dirty_fn fn, void *context)
{
	struct service_entry *entry = take_ptr(index->dirty_first);
	struct service_entry *next;
	int first_err = 0;

	index->dirty_last = NULL;
	for (; entry; entry = next) {
		const struct object_key key = entry_key(entry);
		int err = fn(key.namespace_, key.name, context);

		next = take_ptr(entry->dirty_next);
		entry->dirty = false;
		entry_set_failed(index, entry, err);
		entry_release(index, entry);
		first_err = first_err ? first_err : err;
	}
	return first_err;
}

void service_index_each_failed(const struct service_index *index, model_failed_fn fn, void *context)
{
	const struct service_entry *entry;

	DL_FOREACH2(index->failed, entry, failed_next)
	{
		const struct object_key key = entry_key(entry);

		fn(key.namespace_, key.name, entry->failed, context);
	}
}

void service_index_retry_failed(struct service_index *index)
{
	struct service_entry *entry;

	DL_FOREACH2(index->failed, entry, failed_next)
	{
		entry_touch(index, entry);
	}
}

/* True for objects that kube-proxy's watch leaves out, whatever the label's value (rule A3). */
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

	entry_free_pod_slices(entry);
	entry->pod_slices = calloc(1, sizeof(*entry->pod_slices));
	if (!pods || !entry->pod_slices)
		return -ENOMEM;
	DL_FOREACH(namespace_->pods, member)
	{
		pods[count++] = member->object;
	}
	err = pod_slices_derive(entry->service, pods, count, entry->pod_slices);
	if (err)
		return err;
	return slices_of_array(entry->pod_slices->items, entry->pod_slices->count, ret_slices);
}

int service_entry_slices(struct service_entry *entry, const struct slice_object ***ret_slices)
{
	if (entry->slices)
		return slices_of_members(entry, ret_slices);
	if (entry->endpoints)
		return object_is_hidden(entry->endpoints)
			       ? 0
			       : slices_of_array(entry->endpoints->endpoints.slices,
						 entry->endpoints->endpoints.slice_count,
						 ret_slices);
	if (entry_uses_pods(entry))
		return slices_of_pods(entry, ret_slices);
	return 0;
}

/* Ignores the links between entries: all of them are freed. */
void service_index_fini(struct service_index *index)
{
	struct namespace_entry *namespace_, *next;
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&index->entries, &position))) {
		object_free(entry->service);
		object_free(entry->endpoints);
		entry_free_pod_slices(entry);
		free(entry);
	}
	lookup_fini(&index->entries);
	HASH_ITER (hh, index->namespaces, namespace_, next) {
		HASH_DEL(index->namespaces, namespace_);
		free(namespace_);
	}
}
