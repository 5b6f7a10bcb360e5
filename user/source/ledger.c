/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "source/ledger.h"
#include "source/ledger_key.h"

struct staged {
	struct object *object; /* NULL: the model or a shadow already has it from this file */
	unsigned int line;
	UT_hash_handle hh;
	char key[];
};

struct shadowed {
	struct shadowed *next;
	struct giver *giver;
	struct object *object;
};

/* The objects of one key that are not in the model because a later file gives the same key. */
struct shadow {
	struct shadowed *first;
	UT_hash_handle hh;
	char key[];
};

static const struct object *key_object(const struct ledger *ledger, const char *key)
{
	return model_get(ledger->model, (enum object_kind)key[0], key_namespace(key),
			 key_name(key));
}

void ledger_init(struct ledger *ledger, struct model *model)
{
	*ledger = (struct ledger){.model = model};
}

static void shadow_delete(struct ledger *ledger, struct shadow *shadow)
{
	HASH_DEL(ledger->shadows, shadow);
	free(shadow);
}

void ledger_fini(struct ledger *ledger)
{
	struct giver *giver, *next_giver;
	struct shadow *shadow, *next_shadow;

	HASH_ITER (hh, ledger->givers, giver, next_giver) {
		HASH_DEL(ledger->givers, giver);
		free(take_ptr(giver->keys));
	}
	HASH_ITER (hh, ledger->shadows, shadow, next_shadow) {
		while (shadow->first) {
			struct shadowed *shadowed = shadow->first;

			shadow->first = shadowed->next;
			object_free(shadowed->object);
			free(shadowed);
		}
		shadow_delete(ledger, shadow);
	}
}

int ledger_join(struct ledger *ledger, struct giver *giver, const char *name)
{
	bool no_memory = false;

	*giver = (struct giver){.name = name, .id = ++ledger->last_id};
	HASH_ADD(hh, ledger->givers, id, sizeof(giver->id), giver);
	return no_memory ? -ENOMEM : 0;
}

static struct giver *giver_find(const struct ledger *ledger, __u32 id)
{
	struct giver *giver;

	HASH_FIND(hh, ledger->givers, &id, sizeof(id), giver);
	return giver;
}

static struct shadow *shadow_find(const struct ledger *ledger, const char *key)
{
	struct shadow *shadow;

	HASH_FIND(hh, ledger->shadows, key, key_len(key), shadow);
	return shadow;
}

static struct shadow *shadow_ensure(struct ledger *ledger, const char *key)
{
	struct shadow *shadow = shadow_find(ledger, key);
	size_t len = key_len(key);
	bool no_memory = false;

	if (shadow)
		return shadow;
	shadow = calloc(1, sizeof(*shadow) + len);
	if (!shadow)
		return NULL;
	memcpy(shadow->key, key, len);
	HASH_ADD_KEYPTR(hh, ledger->shadows, shadow->key, len, shadow);
	if (no_memory)
		free(take_ptr(shadow));
	return shadow;
}

/*
 * Removes an object from the shadow and returns it: that of `giver`, or with NULL that of the last
 * file. NULL: there is none.
 */
static struct shadowed *shadow_take(struct ledger *ledger, const char *key,
				    const struct giver *giver)
{
	struct shadow *shadow = shadow_find(ledger, key);
	struct shadowed **found = NULL;
	struct shadowed *taken;

	for (struct shadowed **at = shadow ? &shadow->first : NULL; at && *at; at = &(*at)->next) {
		if (giver ? (*at)->giver == giver
			  : !found || strcmp((*at)->giver->name, (*found)->giver->name) > 0)
			found = at;
	}
	if (!found)
		return NULL;
	taken = *found;
	*found = taken->next;
	if (!shadow->first)
		shadow_delete(ledger, shadow);
	return taken;
}

static void shadow_drop(struct ledger *ledger, const char *key, const struct giver *giver)
{
	struct shadowed *shadowed = shadow_take(ledger, key, giver);

	if (shadowed)
		object_free(shadowed->object);
	free(shadowed);
}

static const struct object *shadow_get(const struct ledger *ledger, const char *key,
				       const struct giver *giver)
{
	const struct shadow *shadow = shadow_find(ledger, key);

	for (const struct shadowed *at = shadow ? shadow->first : NULL; at; at = at->next) {
		if (at->giver == giver)
			return at->object;
	}
	return NULL;
}

/* Keeps an object of a file in the shadow, in place of the file's earlier one. Takes ownership. */
static int shadow_put(struct ledger *ledger, const char *key, struct giver *giver,
		      struct object *object)
{
	struct shadowed *shadowed = calloc(1, sizeof(*shadowed));
	struct shadow *shadow;

	shadow_drop(ledger, key, giver);
	shadow = shadowed && object ? shadow_ensure(ledger, key) : NULL;
	if (!shadow) {
		object_free(object);
		free(shadowed);
		return -ENOMEM;
	}
	*shadowed = (struct shadowed){.next = shadow->first, .giver = giver, .object = object};
	shadow->first = shadowed;
	return 0;
}

static void conflict_log(const char *key, const struct giver *used, const struct giver *unused)
{
	const char *namespace_ = key_namespace(key);

	log_warning("%s %s%s%s is in %s and in %s: the last one counts, remove it from one of them",
		    object_kind_name((enum object_kind)key[0]), namespace_, *namespace_ ? "/" : "",
		    key_name(key), unused->name, used->name);
}

/*
 * Puts an object of a file into the model, or into the shadow if a later file gives the same key.
 * Takes ownership.
 */
static int object_offer(struct ledger *ledger, const char *key, struct giver *giver,
			struct object *object)
{
	const struct object *known = key_object(ledger, key);
	struct giver *other = known ? giver_find(ledger, known->origin) : NULL;
	int err;

	if (other && other != giver && strcmp(other->name, giver->name) > 0) {
		conflict_log(key, other, giver);
		return shadow_put(ledger, key, giver, object);
	}
	if (other && other != giver) {
		conflict_log(key, giver, other);
		err = shadow_put(ledger, key, other, object_new(known));
		if (err) {
			object_free(object);
			return err;
		}
	}
	ledger->changed = true;
	object->origin = giver->id;
	return model_put(ledger->model, object);
}

/* A file no longer gives an object: the object of another file replaces it, or it is removed. */
static int object_release(struct ledger *ledger, const char *key, const struct giver *giver)
{
	const struct object *known = key_object(ledger, key);
	struct shadowed *heir;
	int err;

	if (!known || known->origin != giver->id) {
		shadow_drop(ledger, key, giver);
		return 0;
	}
	ledger->changed = true;
	heir = shadow_take(ledger, key, NULL);
	if (!heir) {
		model_remove(ledger->model, (enum object_kind)key[0], key_namespace(key),
			     key_name(key));
		return 0;
	}
	heir->object->origin = heir->giver->id;
	log_info("%s %s/%s is now that of %s", object_kind_name((enum object_kind)key[0]),
		 key_namespace(key), key_name(key), heir->giver->name);
	err = model_put(ledger->model, heir->object);
	free(heir);
	return err;
}

/* Copies the key at `offset` of the giver's keys; returns its length. */
static size_t key_copy(char key[KEY_SIZE], const struct giver *giver, size_t offset)
{
	size_t len = key_len(giver->keys + offset);

	memcpy(key, giver->keys + offset, len);
	return len;
}

int ledger_leave(struct ledger *ledger, struct giver *giver)
{
	char key[KEY_SIZE];
	int err = 0;

	for (size_t offset = 0; offset < giver->keys_len;) {
		int release_err;

		offset += key_copy(key, giver, offset);
		release_err = object_release(ledger, key, giver);
		err = err ? err : release_err;
	}
	free(take_ptr(giver->keys));
	giver->keys_len = 0;
	HASH_DEL(ledger->givers, giver);
	return err;
}

static struct staged *staged_find(const struct staging *staging, const char *key)
{
	struct staged *staged;

	HASH_FIND(hh, staging->objects, key, key_len(key), staged);
	return staged;
}

/* True if the file already gives an identical object. */
static bool object_is_known(const struct staging *staging, const char *key,
			    const struct object *object)
{
	const struct object *known = key_object(staging->ledger, key);

	if (!known || known->origin != staging->giver->id)
		known = shadow_get(staging->ledger, key, staging->giver);
	return known && object_equal(known, object);
}

static struct staged *staged_ensure(struct staging *staging, const char *key, unsigned int line)
{
	struct staged *staged = staged_find(staging, key);
	size_t len = key_len(key);
	bool no_memory = false;

	if (staged) {
		log_warning("%s:%u: %s %s/%s was on line %u already: the later one counts",
			    staging->giver->name, line, object_kind_name((enum object_kind)key[0]),
			    key_namespace(key), key_name(key), staged->line);
		return staged;
	}
	staged = calloc(1, sizeof(*staged) + len);
	if (!staged)
		return NULL;
	memcpy(staged->key, key, len);
	HASH_ADD_KEYPTR(hh, staging->objects, staged->key, len, staged);
	if (no_memory)
		free(take_ptr(staged));
	return staged;
}

int staging_add(struct staging *staging, struct object *object, unsigned int line)
{
	struct staged *staged;
	char key[KEY_SIZE];

	(void)key_write(key, object);
	staged = staged_ensure(staging, key, line);
	if (!staged) {
		object_free(object);
		return -ENOMEM;
	}
	staged->line = line;
	object_free(take_ptr(staged->object));
	if (object_is_known(staging, key, object))
		object_free(object);
	else
		staged->object = object;
	return 0;
}

/* The keys of all staged objects, concatenated; the caller frees them. */
static char *staging_keys(const struct staging *staging, size_t *ret_len)
{
	const struct staged *staged;
	size_t len = 0;
	char *keys;

	for (staged = staging->objects; staged; staged = staged->hh.next)
		len += staged->hh.keylen;
	keys = malloc(len + 1);
	*ret_len = 0;
	for (staged = staging->objects; staged && keys; staged = staged->hh.next) {
		memcpy(keys + *ret_len, staged->key, staged->hh.keylen);
		*ret_len += staged->hh.keylen;
	}
	return keys;
}

int staging_commit(struct staging *staging)
{
	struct giver *giver = staging->giver;
	auto_cleanup(cleanup_free) char *old_keys = NULL;
	size_t old_len = giver->keys_len;
	size_t len;
	char *keys = staging_keys(staging, &len);
	int err = 0;

	if (!keys)
		return -ENOMEM;
	old_keys = giver->keys;
	giver->keys = keys;
	giver->keys_len = len;
	for (size_t offset = 0; offset < old_len; offset += key_len(old_keys + offset)) {
		if (!err && !staged_find(staging, old_keys + offset))
			err = object_release(staging->ledger, old_keys + offset, giver);
	}
	for (struct staged *staged = staging->objects; staged && !err; staged = staged->hh.next) {
		if (staged->object)
			err = object_offer(staging->ledger, staged->key, giver,
					   take_ptr(staged->object));
	}
	return err;
}

void staging_fini(struct staging *staging)
{
	struct staged *staged, *next;

	HASH_ITER (hh, staging->objects, staged, next) {
		HASH_DEL(staging->objects, staged);
		object_free(staged->object);
		free(staged);
	}
}
