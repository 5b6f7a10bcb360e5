/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "source/ledger.h"

#define KEY_SIZE (1 + 2 * (OBJECT_NAME_MAX + 1))

struct staged {
	struct object *object; /* NULL: the model or a shadow already has it from this file */
	unsigned int line;
	UT_hash_handle hh;
	char key[];
};

struct shadowed {
	struct shadowed *next;
	struct provider *provider;
	struct object *object;
};

/* The objects of one key that are not in the model because a later file provides the same key. */
struct shadow {
	struct shadowed *first;
	UT_hash_handle hh;
	char key[];
};

/*
 * The key of an object: the kind (one byte), then the namespace and the name, each ended by NUL.
 */
static void key_write(char key[KEY_SIZE], const struct object *object)
{
	size_t namespace_size = strlen(object->namespace_) + 1;
	size_t name_size = strlen(object->name) + 1;

	key[0] = (char)object->kind;
	memcpy(key + 1, object->namespace_, namespace_size);
	memcpy(key + 1 + namespace_size, object->name, name_size);
}

static const char *key_namespace(const char *key)
{
	return key + 1;
}

static const char *key_name(const char *key)
{
	return key + 1 + strlen(key + 1) + 1;
}

static size_t key_len(const char *key)
{
	const char *name = key_name(key);

	return (size_t)(name - key) + strlen(name) + 1;
}

static const struct object *key_object(const struct ledger *ledger, const char *key)
{
	return model_get(ledger->model, (enum object_kind)key[0], key_namespace(key),
			 key_name(key));
}

void ledger_init(struct ledger *ledger, struct model *model, ledger_change_fn changing,
		 void *context)
{
	*ledger = (struct ledger){.model = model, .changing = changing, .context = context};
}

static bool addresses_equal(const struct ip_addr *a, size_t a_count, const struct ip_addr *b,
			    size_t b_count)
{
	return a_count == b_count && (!a_count || !memcmp(a, b, a_count * sizeof(*a)));
}

static bool node_ports_equal(const struct service_object *a, const struct service_object *b)
{
	if (a->type != b->type || a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		if (a->ports[i].node_port != b->ports[i].node_port ||
		    a->ports[i].proto != b->ports[i].proto)
			return false;
	}
	return true;
}

/* True if another Service may have an address or a NodePort that this one had. */
static bool service_frees_addresses(const struct service_object *before,
				    const struct service_object *after)
{
	return !node_ports_equal(before, after) ||
	       !addresses_equal(before->cluster_ips, before->cluster_ip_count, after->cluster_ips,
				after->cluster_ip_count) ||
	       !addresses_equal(before->external_ips, before->external_ip_count,
				after->external_ips, after->external_ip_count) ||
	       !addresses_equal(before->load_balancer_ips, before->load_balancer_ip_count,
				after->load_balancer_ips, after->load_balancer_ip_count);
}

/* Puts an object of a file into the model. Takes ownership. */
static int object_enter(struct ledger *ledger, const char *key, struct object *object,
			const struct provider *provider)
{
	const struct object *known = key_object(ledger, key);

	ledger->changed = true;
	if (known && known->kind == OBJECT_SERVICE)
		ledger->freed |= service_frees_addresses(&known->service, &object->service);
	object->origin = provider->id;
	ledger->changing(known, object, ledger->context);
	return model_put(ledger->model, object);
}

static void shadow_delete(struct ledger *ledger, struct shadow *shadow)
{
	HASH_DEL(ledger->shadows, shadow);
	free(shadow);
}

void ledger_fini(struct ledger *ledger)
{
	struct provider *provider, *next_provider;
	struct shadow *shadow, *next_shadow;

	HASH_ITER (hh, ledger->providers, provider, next_provider) {
		HASH_DEL(ledger->providers, provider);
		free(take_ptr(provider->keys));
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

int ledger_join(struct ledger *ledger, struct provider *provider, const char *name)
{
	bool no_memory = false;

	*provider = (struct provider){.name = name, .id = ++ledger->last_id};
	HASH_ADD(hh, ledger->providers, id, sizeof(provider->id), provider);
	return no_memory ? -ENOMEM : 0;
}

static struct provider *provider_find(const struct ledger *ledger, __u32 id)
{
	struct provider *provider;

	HASH_FIND(hh, ledger->providers, &id, sizeof(id), provider);
	return provider;
}

const char *ledger_file(const struct ledger *ledger, const struct object *object)
{
	return provider_find(ledger, object->origin)->name;
}

static struct shadow *shadow_find(const struct ledger *ledger, const char *key)
{
	struct shadow *shadow;

	HASH_FIND(hh, ledger->shadows, key, key_len(key), shadow);
	return shadow;
}

static struct shadow *shadow_get_or_add(struct ledger *ledger, const char *key)
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
 * Removes an object from the shadow and returns it: that of `provider`, or with NULL that of the
 * last file. NULL: there is none.
 */
static struct shadowed *shadow_detach(struct ledger *ledger, const char *key,
				      const struct provider *provider)
{
	struct shadow *shadow = shadow_find(ledger, key);
	struct shadowed **found = NULL;
	struct shadowed *detached;

	for (struct shadowed **at = shadow ? &shadow->first : NULL; at && *at; at = &(*at)->next) {
		if (provider
			    ? (*at)->provider == provider
			    : !found || strcmp((*at)->provider->name, (*found)->provider->name) > 0)
			found = at;
	}
	if (!found)
		return NULL;
	detached = *found;
	*found = detached->next;
	if (!shadow->first)
		shadow_delete(ledger, shadow);
	return detached;
}

static void shadow_drop(struct ledger *ledger, const char *key, const struct provider *provider)
{
	struct shadowed *shadowed = shadow_detach(ledger, key, provider);

	if (shadowed)
		object_free(shadowed->object);
	free(shadowed);
}

static const struct object *shadow_get(const struct ledger *ledger, const char *key,
				       const struct provider *provider)
{
	const struct shadow *shadow = shadow_find(ledger, key);

	for (const struct shadowed *at = shadow ? shadow->first : NULL; at; at = at->next) {
		if (at->provider == provider)
			return at->object;
	}
	return NULL;
}

/* Keeps an object of a file in the shadow, in place of the file's earlier one. Takes ownership. */
static int shadow_put(struct ledger *ledger, const char *key, struct provider *provider,
		      struct object *object)
{
	struct shadowed *shadowed = calloc(1, sizeof(*shadowed));
	struct shadow *shadow;

	shadow_drop(ledger, key, provider);
	shadow = shadowed && object ? shadow_get_or_add(ledger, key) : NULL;
	if (!shadow) {
		object_free(object);
		free(shadowed);
		return -ENOMEM;
	}
	*shadowed =
		(struct shadowed){.next = shadow->first, .provider = provider, .object = object};
	shadow->first = shadowed;
	return 0;
}

static void conflict_log(const char *key, const struct provider *used,
			 const struct provider *unused)
{
	const char *namespace_ = key_namespace(key);

	log_warning("%s %s%s%s is in %s and in %s: the last one counts, remove it from one of them",
		    object_kind_name((enum object_kind)key[0]), namespace_, *namespace_ ? "/" : "",
		    key_name(key), unused->name, used->name);
}

/*
 * Puts an object of a file into the model, or into the shadow if a later file provides the same
 * key. Takes ownership.
 */
static int object_offer(struct ledger *ledger, const char *key, struct provider *provider,
			struct object *object)
{
	const struct object *known = key_object(ledger, key);
	struct provider *other = known ? provider_find(ledger, known->origin) : NULL;
	int err;

	if (other && other != provider && strcmp(other->name, provider->name) > 0) {
		conflict_log(key, other, provider);
		return shadow_put(ledger, key, provider, object);
	}
	if (other && other != provider) {
		conflict_log(key, provider, other);
		err = shadow_put(ledger, key, other, object_new(known));
		if (err) {
			object_free(object);
			return err;
		}
	}
	return object_enter(ledger, key, object, provider);
}

/* A file no longer provides an object: the object of another file replaces it, or it is removed. */
static int object_release(struct ledger *ledger, const char *key, const struct provider *provider)
{
	const struct object *known = key_object(ledger, key);
	struct shadowed *heir;
	int err;

	if (!known || known->origin != provider->id) {
		shadow_drop(ledger, key, provider);
		return 0;
	}
	heir = shadow_detach(ledger, key, NULL);
	if (!heir) {
		ledger->changed = true;
		ledger->freed |= known->kind == OBJECT_SERVICE;
		ledger->changing(known, NULL, ledger->context);
		model_remove(ledger->model, (enum object_kind)key[0], key_namespace(key),
			     key_name(key));
		return 0;
	}
	log_info("%s %s/%s is now the one in %s", object_kind_name((enum object_kind)key[0]),
		 key_namespace(key), key_name(key), heir->provider->name);
	err = object_enter(ledger, key, heir->object, heir->provider);
	free(heir);
	return err;
}

int ledger_leave(struct ledger *ledger, struct provider *provider)
{
	int err = 0;

	for (size_t offset = 0; offset < provider->keys_len;
	     offset += key_len(provider->keys + offset)) {
		int release_err = object_release(ledger, provider->keys + offset, provider);

		err = err ? err : release_err;
	}
	free(take_ptr(provider->keys));
	provider->keys_len = 0;
	HASH_DEL(ledger->providers, provider);
	return err;
}

static struct staged *staged_find(const struct staging *staging, const char *key)
{
	struct staged *staged;

	HASH_FIND(hh, staging->objects, key, key_len(key), staged);
	return staged;
}

/* True if the file already provides an identical object on the same line. */
static bool object_is_known(const struct staging *staging, const char *key,
			    const struct object *object)
{
	const struct object *known = key_object(staging->ledger, key);

	if (!known || known->origin != staging->provider->id)
		known = shadow_get(staging->ledger, key, staging->provider);
	return known && object_equal(known, object) &&
	       (known->kind != OBJECT_SERVICE || known->line == object->line);
}

static struct staged *staged_get_or_add(struct staging *staging, const char *key, unsigned int line)
{
	struct staged *staged = staged_find(staging, key);
	size_t len = key_len(key);
	bool no_memory = false;

	if (staged) {
		log_warning("%s:%u: %s %s/%s was on line %u already: the later one counts",
			    staging->provider->name, line,
			    object_kind_name((enum object_kind)key[0]), key_namespace(key),
			    key_name(key), staged->line);
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

	key_write(key, object);
	staged = staged_get_or_add(staging, key, line);
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
	struct provider *provider = staging->provider;
	auto_cleanup(cleanup_free) char *old_keys = NULL;
	size_t old_len = provider->keys_len;
	size_t len;
	char *keys = staging_keys(staging, &len);
	int err;

	if (!keys)
		return -ENOMEM;
	old_keys = provider->keys;
	provider->keys = keys;
	provider->keys_len = len;
	for (size_t offset = 0; offset < old_len; offset += key_len(old_keys + offset)) {
		if (staged_find(staging, old_keys + offset))
			continue;
		err = object_release(staging->ledger, old_keys + offset, provider);
		if (err)
			return err;
	}
	for (struct staged *staged = staging->objects; staged; staged = staged->hh.next) {
		if (!staged->object)
			continue;
		err = object_offer(staging->ledger, staged->key, provider,
				   take_ptr(staged->object));
		if (err)
			return err;
	}
	return 0;
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
