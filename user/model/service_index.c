/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/service_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "model/pod_slices.h"

/* The Pods of a namespace that have a label, and some of the Services that select by it. */
struct label_entry {
	struct pod_label *pods;
	struct service_entry *services;
	size_t pod_count, service_count;
	char text[]; /* namespace, 0, key, 0, value, 0 */
};

/* A Pod in the list of one of its labels. */
struct pod_label {
	struct label_entry *entry; /* NULL: it has the label twice */
	struct member *pod;
	struct pod_label *prev, *next;
};

struct label_key {
	const char *namespace_;
	const struct label *label;
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

static uint32_t label_hash(const struct label_key *key)
{
	const struct object_key label = {key->label->key, key->label->value};

	return object_key_hash(&label) * 31 + lookup_hash(key->namespace_, strlen(key->namespace_));
}

static struct label_key label_entry_key(const struct label_entry *entry, struct label *ret_label)
{
	ret_label->key = (char *)entry->text + strlen(entry->text) + 1;
	ret_label->value = ret_label->key + strlen(ret_label->key) + 1;
	return (struct label_key){entry->text, ret_label};
}

static bool label_entry_is(const void *item, const void *wanted)
{
	const struct label_key *key = wanted;
	struct label label;
	const struct label_key own = label_entry_key(item, &label);

	return !strcmp(label.value, key->label->value) && !strcmp(label.key, key->label->key) &&
	       !strcmp(own.namespace_, key->namespace_);
}

static struct label_entry *label_find(const struct service_index *index, const char *namespace_,
				      const struct label *label)
{
	const struct label_key key = {namespace_, label};

	return lookup_find(&index->labels, label_hash(&key), label_entry_is, &key);
}

static struct label_entry *label_get_or_add(struct service_index *index, const char *namespace_,
					    const struct label *label)
{
	struct label_entry *entry = label_find(index, namespace_, label);
	const struct label_key key = {namespace_, label};
	size_t namespace_size = strlen(namespace_) + 1, key_size = strlen(label->key) + 1;
	size_t value_size = strlen(label->value) + 1;

	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + namespace_size + key_size + value_size);
	if (!entry)
		return NULL;
	memcpy(entry->text, namespace_, namespace_size);
	memcpy(entry->text + namespace_size, label->key, key_size);
	memcpy(entry->text + namespace_size + key_size, label->value, value_size);
	if (lookup_add(&index->labels, label_hash(&key), entry))
		free(take_ptr(entry));
	return entry;
}

/* Frees the label's entry if nothing is listed there any more. */
static void label_release(struct service_index *index, struct label_entry *entry)
{
	struct label label;
	struct label_key key;

	if (entry->pods || entry->services)
		return;
	key = label_entry_key(entry, &label);
	lookup_remove(&index->labels, label_hash(&key), entry);
	free(entry);
}

static void entry_free_pod_slices(struct service_entry *entry)
{
	if (entry->pod_slices)
		pod_slices_fini(entry->pod_slices);
	free(take_ptr(entry->pod_slices));
}

/* Lists the Service at that label instead of where it was listed; NULL: nowhere. */
static void entry_list_at(struct service_index *index, struct service_entry *entry,
			  struct label_entry *label)
{
	struct label_entry *before = entry->listed_at;

	if (label == before)
		return;
	entry->listed_at = label;
	if (before) {
		DL_DELETE(before->services, entry);
		before->service_count--;
		label_release(index, before);
	}
	if (label) {
		DL_APPEND(label->services, entry);
		label->service_count++;
	}
}

/* The label of the selector at which the fewest Services are listed; NULL: no memory. */
static struct label_entry *selector_label(struct service_index *index, const struct object *service)
{
	const struct labels *selector = &service->service.selector;
	const struct label *best = NULL;
	size_t best_count = 0;

	for (size_t i = 0; i < selector->count; i++) {
		const struct label_entry *entry =
			label_find(index, service->namespace_, &selector->items[i]);
		size_t count = entry ? entry->service_count : 0;

		if (best && count >= best_count)
			continue;
		best = &selector->items[i];
		best_count = count;
	}
	return label_get_or_add(index, service->namespace_, best);
}

/* Frees the entry if nothing needs it any more. */
static void entry_release(struct service_index *index, struct service_entry *entry)
{
	struct object_key key;

	if (entry->service || entry->endpoints || entry->slices || entry->dirty || entry->failed)
		return;
	entry_list_at(index, entry, NULL);
	entry_free_pod_slices(entry);
	key = entry_key(entry);
	lookup_remove(&index->entries, object_key_hash(&key), entry);
	free(entry);
}

/* True if the Service's endpoints are derived from Pods. */
static bool entry_uses_pods(const struct service_entry *entry)
{
	return entry->listed_at && entry->service && !entry->slices && !entry->endpoints;
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
static void pod_touch(struct service_index *index, const struct member *pod)
{
	const struct labels *labels = &pod->object->labels;
	struct service_entry *entry;

	for (size_t i = 0; i < labels->count; i++) {
		if (!pod->labels[i].entry)
			continue;
		DL_FOREACH(pod->labels[i].entry->services, entry)
		{
			if (entry_uses_pods(entry) &&
			    labels_match(labels, &entry->service->service.selector))
				entry_touch(index, entry);
		}
	}
}

static void pod_unlink(struct service_index *index, struct member *pod)
{
	for (size_t i = 0; pod->labels && i < pod->object->labels.count; i++) {
		struct pod_label *at = &pod->labels[i];

		if (!at->entry)
			continue;
		DL_DELETE(at->entry->pods, at);
		at->entry->pod_count--;
		label_release(index, at->entry);
	}
	free(take_ptr(pod->labels));
}

static int pod_link(struct service_index *index, struct member *pod)
{
	const struct object *object = pod->object;
	const struct label_entry *last = NULL;

	pod->labels = calloc(object->labels.count + 1, sizeof(*pod->labels));
	if (!pod->labels)
		return -ENOMEM;
	for (size_t i = 0; i < object->labels.count; i++) {
		struct pod_label *at = &pod->labels[i];
		struct label_entry *entry =
			label_get_or_add(index, object->namespace_, &object->labels.items[i]);

		if (!entry) {
			pod_unlink(index, pod);
			return -ENOMEM;
		}
		if (entry == last)
			continue;
		last = entry;
		*at = (struct pod_label){.entry = entry, .pod = pod};
		DL_APPEND(entry->pods, at);
		entry->pod_count++;
	}
	return 0;
}

int service_index_put_service(struct service_index *index, struct object *object)
{
	struct service_entry *entry = entry_get_or_add(index, object->namespace_, object->name);
	struct label_entry *label = NULL;

	if (entry && object->service.selector.count)
		label = selector_label(index, object);
	if (!entry || (object->service.selector.count && !label)) {
		if (entry)
			entry_release(index, entry);
		object_free(object);
		return -ENOMEM;
	}
	entry_list_at(index, entry, label);
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
	entry_list_at(index, entry, NULL);
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
		if (pod_link(index, member))
			return -ENOMEM;
		pod_touch(index, member);
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
	} else if (member->object->kind == OBJECT_POD && member->labels) {
		pod_touch(index, member);
		pod_unlink(index, member);
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

/* The Pods that have a label of the Service's selector: the one that the fewest have, or NULL. */
static const struct label_entry *pods_to_select(const struct service_index *index,
						const struct object *service)
{
	const struct labels *selector = &service->service.selector;
	const struct label_entry *fewest = NULL;

	for (size_t i = 0; i < selector->count; i++) {
		const struct label_entry *entry =
			label_find(index, service->namespace_, &selector->items[i]);

		if (!entry)
			return NULL;
		if (!fewest || entry->pod_count < fewest->pod_count)
			fewest = entry;
	}
	return fewest;
}

static int pods_derive(const struct service_index *index, struct service_entry *entry)
{
	const struct label_entry *label = pods_to_select(index, entry->service);
	auto_cleanup(cleanup_free) const struct object **pods =
		malloc(((label ? label->pod_count : 0) + 1) * sizeof(struct object *));
	const struct pod_label *at;
	size_t count = 0;

	entry_free_pod_slices(entry);
	entry->pod_slices = calloc(1, sizeof(*entry->pod_slices));
	if (!pods || !entry->pod_slices)
		return -ENOMEM;
	DL_FOREACH((label ? label->pods : NULL), at)
	{
		pods[count++] = at->pod->object;
	}
	return pod_slices_derive(entry->service, pods, count, entry->pod_slices);
}

static int slices_of_pods(const struct service_index *index, struct service_entry *entry,
			  const struct slice_object ***ret_slices)
{
	const struct slice_object **slices;
	int err = pods_derive(index, entry);
	size_t count;

	if (err)
		return err;
	count = entry->pod_slices->count;
	slices = malloc((count + 1) * sizeof(struct slice_object *));
	if (!slices)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		slices[i] = entry->pod_slices->items[i];
	*ret_slices = slices;
	return (int)count;
}

int service_index_slices(const struct service_index *index, struct service_entry *entry,
			 const struct slice_object ***ret_slices)
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
		return slices_of_pods(index, entry, ret_slices);
	return 0;
}

/* Ignores the links between entries: all of them are freed. */
void service_index_fini(struct service_index *index)
{
	struct label_entry *label;
	struct service_entry *entry;
	uint32_t position = 0;

	while ((entry = lookup_next(&index->entries, &position))) {
		object_free(entry->service);
		object_free(entry->endpoints);
		entry_free_pod_slices(entry);
		free(entry);
	}
	lookup_fini(&index->entries);
	position = 0;
	while ((label = lookup_next(&index->labels, &position)))
		free(label);
	lookup_fini(&index->labels);
}
