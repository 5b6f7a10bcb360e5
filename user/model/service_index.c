/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/service_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "model/pod_slices.h"

uint32_t object_key_hash(const struct object_key *key)
{
	return lookup_hash(key->namespace_, strlen(key->namespace_)) * 31 +
	       lookup_hash(key->name, strlen(key->name));
}

const char *entry_name(const struct service_entry *entry)
{
	return entry->key + strlen(entry->key) + 1;
}

struct object_key object_key(const struct object *object)
{
	return (struct object_key){object->namespace_, object->name};
}

static bool entry_is(const void *item, const void *wanted)
{
	const struct service_entry *entry = item;
	const struct object_key *key = wanted;

	return !strcmp(entry->key, key->namespace_) && !strcmp(entry_name(entry), key->name);
}

static bool member_is(const void *item, const void *wanted)
{
	const struct member *member = item;
	const struct object_key *key = wanted;

	return !strcmp(member->object->name, key->name) &&
	       !strcmp(member->object->namespace_, key->namespace_);
}

struct service_entry *entry_find(const struct model *model, const char *namespace_,
				 const char *name)
{
	const struct object_key key = {namespace_, name};

	return lookup_find(&model->services, object_key_hash(&key), entry_is, &key);
}

struct member *member_find(const struct model *model, enum object_kind kind, const char *namespace_,
			   const char *name)
{
	const struct object_key key = {namespace_, name};

	return lookup_find(&model->members[kind], object_key_hash(&key), member_is, &key);
}

struct service_entry *entry_ensure(struct model *model, const char *namespace_, const char *name)
{
	struct service_entry *entry = entry_find(model, namespace_, name);
	size_t namespace_size = strlen(namespace_) + 1, name_size = strlen(name) + 1;
	const struct object_key key = {namespace_, name};

	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry) + namespace_size + name_size);
	if (!entry)
		return NULL;
	memcpy(entry->key, namespace_, namespace_size);
	memcpy(entry->key + namespace_size, name, name_size);
	if (lookup_add(&model->services, object_key_hash(&key), entry))
		free(take_ptr(entry));
	return entry;
}

struct namespace_entry *namespace_ensure(struct model *model, const char *name)
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

void namespace_release(struct model *model, struct namespace_entry *entry)
{
	if (entry->pods || entry->selecting)
		return;
	HASH_DEL(model->namespaces, entry);
	free(entry);
}

void entry_drop_derived(struct service_entry *entry)
{
	if (entry->derived)
		derived_slices_fini(entry->derived);
	free(take_ptr(entry->derived));
}

void entry_end_selecting(struct model *model, struct service_entry *entry)
{
	struct namespace_entry *namespace_ = take_ptr(entry->selecting_in);

	if (!namespace_)
		return;
	DL_DELETE(namespace_->selecting, entry);
	namespace_release(model, namespace_);
}

int entry_begin_selecting(struct model *model, struct service_entry *entry)
{
	entry->selecting_in = namespace_ensure(model, entry->key);
	if (!entry->selecting_in)
		return -ENOMEM;
	DL_APPEND(entry->selecting_in->selecting, entry);
	return 0;
}

void entry_release(struct model *model, struct service_entry *entry)
{
	struct object_key key;

	if (entry->service || entry->endpoints || entry->slices || entry->dirty)
		return;
	entry_end_selecting(model, entry);
	entry_drop_derived(entry);
	key = (struct object_key){entry->key, entry_name(entry)};
	lookup_remove(&model->services, object_key_hash(&key), entry);
	free(entry);
}

bool entry_is_derived(const struct service_entry *entry)
{
	return entry->selecting_in && entry->service && !entry->slices && !entry->endpoints;
}
