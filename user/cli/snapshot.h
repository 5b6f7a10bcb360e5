/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Services with their names, frontends and backends, read from the maps into memory and joined. The
 * agent may publish meanwhile: the arrays are read again if a list of slots moved, and an id whose
 * entry has vanished is left out.
 */

#include <stdbool.h>
#include <stddef.h>

#include "cli/shown_maps.h"
#include "fairlead/types.h"

/* The maps that snapshot_read needs. */
#define SNAPSHOT_MAPS                                                         \
	(MAP_BIT(MAP_SERVICES) | MAP_BIT(MAP_SLOTS) | MAP_BIT(MAP_BACKENDS) | \
	 MAP_BIT(MAP_FRONTENDS) | MAP_BIT(MAP_SERVICE_NAMES) | MAP_BIT(MAP_UNPROGRAMMED))

struct snapshot_frontend {
	struct frontend frontend;
	struct frontend_target target;
};

struct snapshot_unprogrammed {
	struct unprogrammed_key key;
	struct unprogrammed value;
};

/*
 * A backend of a service port; one in neither set has left it, and is listed under its last service
 * port.
 */
struct membership {
	__u32 service;
	__u32 backend;
	bool in_cluster;
	bool in_local;
};

/* The names of a service port, as terminated strings. */
struct service_text {
	char namespace_[NAME_SIZE];
	char name[NAME_SIZE];
	char port_name[NAME_SIZE];
};

struct snapshot {
	struct service *services;
	__u32 service_count; /* entries of the map, in use or not, like the next two */
	struct slot *slots;
	__u32 slot_count;
	struct backend *backends;
	__u32 backend_count;
	struct service_name *names;          /* one per service */
	struct snapshot_frontend *frontends; /* sorted by service, kind, address, port */
	size_t frontend_count;
	struct snapshot_unprogrammed *unprogrammed; /* sorted by namespace, name, port, family */
	size_t unprogrammed_count;
	struct membership *memberships; /* sorted by service, then backend */
	size_t membership_count;
};

/* Complains. Returns 0 or a negative errno; either way the caller calls snapshot_fini. */
int snapshot_read(const struct shown_maps *maps, struct snapshot *snapshot);
void snapshot_fini(struct snapshot *snapshot);

/* NULL: the id is not that of a service port in use. */
const struct service *snapshot_service(const struct snapshot *snapshot, __u32 id);

/* NULL: the id is not that of a backend, or the backend is of another generation (0: any). */
const struct backend *snapshot_backend(const struct snapshot *snapshot, __u32 id, __u32 generation);

/* The names of a service port; empty if it has none (any more). */
struct service_text snapshot_text(const struct snapshot *snapshot, __u32 id);

/* "shop/web:http", "shop/web:80/TCP" for a port without a name, "service port 7" without any. */
#define SERVICE_LABEL_SIZE (NAME_SIZE * 3 + 16)
const char *snapshot_label(const struct snapshot *snapshot, __u32 id, char buf[SERVICE_LABEL_SIZE]);

/* The frontends and memberships of one service port: borrowed, NULL if there are none. */
const struct snapshot_frontend *snapshot_frontends(const struct snapshot *snapshot, __u32 id,
						   size_t *ret_count);
const struct membership *snapshot_memberships(const struct snapshot *snapshot, __u32 id,
					      size_t *ret_count);

/* Items sorted by an id, a __u32 at `id_offset` in each. */
struct sorted_items {
	const void *items;
	size_t count;
	size_t size; /* of an item */
	size_t id_offset;
};

/* The items with this id: borrowed, NULL if there are none. */
const void *sorted_items_find(const struct sorted_items *sorted, __u32 id, size_t *ret_count);

/* The number of slots in the lists of service ports in use. */
__u32 snapshot_slots_used(const struct snapshot *snapshot);
