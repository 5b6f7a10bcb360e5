/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/service_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/mapped_array.h"

#define SERVICE_KEY_SIZE (2 * NAME_SIZE)

int service_set_init(struct service_set *set, const struct publisher_maps *maps,
		     struct retirement *retirement, struct shortage *shortage)
{
	*set = (struct service_set){
		.max = maps->services_max,
		.names = maps->service_names,
		.stats = maps->service_stats,
		.retirement = retirement,
		.shortage = shortage,
	};
	set->entries = mapped_array_of(maps->services, set->max, sizeof(*set->entries));
	if (!set->entries)
		return -errno;
	set->uses = mapped_array_new(set->max, sizeof(*set->uses));
	set->ports = mapped_array_new(set->max, sizeof(struct port_record *));
	set->retired_lists = mapped_array_new(set->max, sizeof(*set->retired_lists));
	if (!set->uses || !set->ports || !set->retired_lists || id_pool_init(&set->ids, set->max) ||
	    id_index_init(&set->by_port, set->max))
		return -ENOMEM;
	return 0;
}

static void port_free(struct port_record *port)
{
	free(port->frontends);
	free(port->backends);
	free(port->ranges);
	free(port);
}

void service_set_fini(struct service_set *set)
{
	struct service_record *service;
	uint32_t position = 0;

	while ((service = lookup_next(&set->by_name, &position))) {
		while (service->ports) {
			struct port_record *port = service->ports;

			service->ports = port->next;
			port_free(port);
		}
		free(service->left_alone);
		free(service->unprogrammed);
		free(service);
	}
	lookup_fini(&set->by_name);
	mapped_array_free(set->entries, set->max, sizeof(*set->entries));
	mapped_array_free(set->uses, set->max, sizeof(*set->uses));
	mapped_array_free(set->ports, set->max, sizeof(struct port_record *));
	mapped_array_free(set->retired_lists, set->max, sizeof(*set->retired_lists));
	id_index_fini(&set->by_port);
	id_pool_fini(&set->ids);
}

static bool service_is(const void *service, const void *name)
{
	return !strcmp(((const struct service_record *)service)->name, name);
}

/* Returns the key's length, or 0: the names are too long. */
static size_t key_write(const char *namespace_, const char *name, char key[SERVICE_KEY_SIZE])
{
	int length = snprintf(key, SERVICE_KEY_SIZE, "%s/%s", namespace_, name);

	return length < 0 || length >= SERVICE_KEY_SIZE ? 0 : (size_t)length;
}

struct service_record *service_set_find(const struct service_set *set, const char *namespace_,
					const char *name)
{
	char key[SERVICE_KEY_SIZE];
	size_t length = key_write(namespace_, name, key);

	return length ? lookup_find(&set->by_name, lookup_hash(key, length), service_is, key)
		      : NULL;
}

struct service_record *service_set_get_or_add(struct service_set *set, const char *namespace_,
					      const char *name)
{
	struct service_record *service;
	char key[SERVICE_KEY_SIZE];
	size_t length = key_write(namespace_, name, key);
	uint32_t hash = lookup_hash(key, length);

	if (!length)
		return NULL;
	service = lookup_find(&set->by_name, hash, service_is, key);
	if (service)
		return service;
	service = calloc(1, sizeof(*service) + length + 1);
	if (!service)
		return NULL;
	memcpy(service->name, key, length + 1);
	if (lookup_add(&set->by_name, hash, service))
		free(take_ptr(service));
	return service;
}

void service_set_drop_empty(struct service_set *set, struct service_record *service)
{
	if (service->ports || service->left_alone || service->unprogrammed_count)
		return;
	lookup_remove(&set->by_name, lookup_hash(service->name, strlen(service->name)), service);
	free(service->unprogrammed);
	free(service);
}

static uint32_t port_hash(const struct service_record *service, const char *port_name, __u8 proto,
			  __u8 family)
{
	const uintptr_t owner = (uintptr_t)service;
	uint32_t hash = lookup_hash(port_name, strlen(port_name)) * 31 + proto;

	return (hash * 31 + family) * 31 + lookup_hash(&owner, sizeof(owner));
}

static bool port_is(const struct port_record *port, const struct service_record *service,
		    const struct service_name *name)
{
	return port->service == service && port->proto == name->proto &&
	       port->family == name->family && !strcmp(port->port_name, name->port_name);
}

struct port_record *service_set_find_port(const struct service_set *set,
					  const struct service_record *service,
					  const struct service_name *name)
{
	uint32_t id = id_index_first(
		&set->by_port, port_hash(service, name->port_name, name->proto, name->family));

	while (id && !port_is(set->ports[id], service, name))
		id = id_index_next(&set->by_port, id);
	return id ? set->ports[id] : NULL;
}

struct port_record *service_set_port_of(const struct service_set *set, uint32_t id)
{
	return id < set->max ? set->ports[id] : NULL;
}

static int port_backend_compare(const void *a, const void *b)
{
	const struct port_backend *left = a, *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

void port_backends_sort(struct port_backend *backends, uint32_t count)
{
	qsort(backends, count, sizeof(*backends), port_backend_compare);
}

static struct port_record *port_new(struct service_set *set, struct service_record *service,
				    const struct service_name *name, uint32_t id)
{
	size_t length = strnlen(name->port_name, NAME_SIZE - 1);
	struct port_record *port = calloc(1, sizeof(*port) + length + 1);

	if (!port)
		return NULL;
	memcpy(port->port_name, name->port_name, length);
	port->proto = name->proto;
	port->family = name->family;
	port->id = id;
	port->service = service;
	port->is_planned = true;
	DL_PREPEND(service->ports, port);
	set->uses[id] = 1;
	set->ports[id] = port;
	id_index_add(&set->by_port, port_hash(service, port->port_name, port->proto, port->family),
		     id);
	set->port_count++;
	return port;
}

int service_set_add_port(struct service_set *set, struct service_record *service,
			 const struct service_name *name, struct port_record **ret_port)
{
	uint32_t id = id_pool_alloc(&set->ids);

	if (!id)
		return shortage_record(set->shortage, FULL_SERVICES);
	*ret_port = port_new(set, service, name, id);
	if (!*ret_port) {
		id_pool_free(&set->ids, id);
		return -ENOMEM;
	}
	set->entries[id] = (struct service){};
	return 0;
}

void service_set_undo_port(struct service_set *set, struct service_record *service,
			   struct port_record *port)
{
	service_set_release_id(set, port->id);
	service_set_remove_port(set, service, port);
}

struct port_record *service_set_adopt_port(struct service_set *set, struct service_record *service,
					   const struct service_name *name, uint32_t id)
{
	struct port_record *port = port_new(set, service, name, id);

	if (port)
		(void)id_pool_reserve(&set->ids, id);
	return port;
}

void service_set_remove_port(struct service_set *set, struct service_record *service,
			     struct port_record *port)
{
	DL_DELETE(service->ports, port);
	id_index_remove(&set->by_port,
			port_hash(service, port->port_name, port->proto, port->family), port->id);
	set->ports[port->id] = NULL;
	port_free(port);
	set->port_count--;
}

bool service_set_is_in_use(const struct service_set *set, uint32_t id)
{
	return id && id < set->max && set->entries[id].flags & SERVICE_IN_USE;
}

int service_set_write_name(struct service_set *set, uint32_t id, const struct service_name *name)
{
	struct service_name before;

	if (!bpf_map_lookup_elem(set->names, &id, &before) &&
	    !memcmp(&before, name, sizeof(before)))
		return 0;
	if (!bpf_map_update_elem(set->names, &id, name, BPF_ANY))
		return 0;
	return errno == E2BIG ? shortage_record(set->shortage, FULL_SERVICES) : -errno;
}

void service_set_clear_stats(const struct service_set *set, uint32_t id)
{
	auto_cleanup(cleanup_free) void *zero = map_cpu_values_new(sizeof(struct service_stats));

	if (zero)
		(void)bpf_map_update_elem(set->stats, &id, zero, BPF_ANY);
}

void service_set_retire_list(struct service_set *set, uint32_t id)
{
	set->retired_lists[id]++;
	retire(set->retirement, RETIRED_LIST, id, 0);
}

bool service_set_forget_list(struct service_set *set, uint32_t id)
{
	return !--set->retired_lists[id];
}

void service_set_hold_id(struct service_set *set, uint32_t id, uint32_t vip)
{
	set->uses[id]++;
	retire_when_idle(set->retirement, RETIRED_SERVICE, id, vip);
}

void service_set_release_id(struct service_set *set, uint32_t id)
{
	if (id && !--set->uses[id])
		id_pool_free(&set->ids, id);
}

bool service_set_is_scarce(const struct service_set *set)
{
	return id_pool_count(&set->ids) > set->ids.max / 4 * 3;
}
