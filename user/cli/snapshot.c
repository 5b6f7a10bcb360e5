/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/snapshot.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cli/alloc.h"

/* The agent may keep publishing: after so many attempts, accept the last one. */
#define READINGS_MAX 4

/* An array map being copied out. */
struct array_copy {
	char *items;
	__u32 count;
	size_t size;
};

static void array_copy_entry(const void *key, const void *value, void *context)
{
	struct array_copy *copy = context;
	__u32 index;

	memcpy(&index, key, sizeof(index));
	if (index < copy->count)
		memcpy(copy->items + index * copy->size, value, copy->size);
}

static int array_read(const struct shown_maps *maps, enum map_id id, void *items, __u32 count)
{
	struct array_copy copy = {
		.items = items, .count = count, .size = maps->items[id].value_size};

	return shown_map_read(maps, id, array_copy_entry, &copy);
}

static bool range_equal(struct slot_range a, struct slot_range b)
{
	return a.first == b.first && a.count == b.count;
}

static bool lists_equal(const struct service *a, const struct service *b, __u32 count)
{
	for (__u32 i = 0; i < count; i++) {
		if (!range_equal(a[i].cluster_slots, b[i].cluster_slots) ||
		    !range_equal(a[i].local_slots, b[i].local_slots))
			return false;
	}
	return true;
}

/* Reads until no service's list has moved while its slots and backends were read. */
static int arrays_read(const struct shown_maps *maps, struct snapshot *snapshot)
{
	auto_cleanup(cleanup_free) struct service *before =
		alloc_zeroed(snapshot->service_count, sizeof(*before));
	int err = array_read(maps, MAP_SERVICES, before, snapshot->service_count);

	if (err)
		return err;
	for (int i = 0; i < READINGS_MAX; i++) {
		err = array_read(maps, MAP_SLOTS, snapshot->slots, snapshot->slot_count);
		if (err)
			return err;
		err = array_read(maps, MAP_BACKENDS, snapshot->backends, snapshot->backend_count);
		if (err)
			return err;
		err = array_read(maps, MAP_SERVICES, snapshot->services, snapshot->service_count);
		if (err)
			return err;
		if (lists_equal(before, snapshot->services, snapshot->service_count))
			break;
		memcpy(before, snapshot->services, snapshot->service_count * sizeof(*before));
	}
	return 0;
}

/* A growing list of the snapshot, with its capacity. */
struct growing_list {
	struct snapshot *snapshot;
	size_t capacity;
};

static void frontend_add(const void *key, const void *value, void *context)
{
	struct growing_list *list = context;
	struct snapshot *snapshot = list->snapshot;
	struct snapshot_frontend *item;

	snapshot->frontends = alloc_one_more(snapshot->frontends, snapshot->frontend_count,
					     &list->capacity, sizeof(*snapshot->frontends));
	item = &snapshot->frontends[snapshot->frontend_count++];
	memcpy(&item->frontend, key, sizeof(item->frontend));
	memcpy(&item->target, value, sizeof(item->target));
}

/* The ClusterIP first, and NodePorts, which have another port, last. */
static int kind_order(__u8 kind)
{
	return kind == FRONTEND_NODE_PORT ? UINT8_MAX + 1 : kind;
}

static int frontend_compare(const void *left, const void *right)
{
	const struct snapshot_frontend *a = left;
	const struct snapshot_frontend *b = right;

	if (a->target.service != b->target.service)
		return a->target.service < b->target.service ? -1 : 1;
	if (kind_order(a->target.kind) != kind_order(b->target.kind))
		return kind_order(a->target.kind) - kind_order(b->target.kind);
	return memcmp(&a->frontend, &b->frontend, sizeof(a->frontend));
}

static void unprogrammed_add(const void *key, const void *value, void *context)
{
	struct growing_list *list = context;
	struct snapshot *snapshot = list->snapshot;
	struct snapshot_unprogrammed *item;

	snapshot->unprogrammed =
		alloc_one_more(snapshot->unprogrammed, snapshot->unprogrammed_count,
			       &list->capacity, sizeof(*snapshot->unprogrammed));
	item = &snapshot->unprogrammed[snapshot->unprogrammed_count++];
	memcpy(&item->key, key, sizeof(item->key));
	memcpy(&item->value, value, sizeof(item->value));
}

static int unprogrammed_compare(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct unprogrammed_key));
}

static void membership_add(struct growing_list *list, struct membership membership)
{
	struct snapshot *snapshot = list->snapshot;

	snapshot->memberships = alloc_one_more(snapshot->memberships, snapshot->membership_count,
					       &list->capacity, sizeof(*snapshot->memberships));
	snapshot->memberships[snapshot->membership_count++] = membership;
}

static void memberships_add_range(struct growing_list *list, __u32 service, struct slot_range range,
				  bool is_local)
{
	const struct snapshot *snapshot = list->snapshot;

	if (range.first > snapshot->slot_count || range.count > snapshot->slot_count - range.first)
		return;
	for (__u32 i = 0; i < range.count; i++) {
		__u32 backend = snapshot->slots[range.first + i].backend;

		if (!snapshot_backend(snapshot, backend, 0))
			continue;
		membership_add(list, (struct membership){
					     .service = service,
					     .backend = backend,
					     .in_cluster = !is_local,
					     .in_local = is_local,
				     });
	}
}

static int membership_compare(const void *left, const void *right)
{
	const struct membership *a = left;
	const struct membership *b = right;

	if (a->service != b->service)
		return a->service < b->service ? -1 : 1;
	return a->backend < b->backend ? -1 : a->backend > b->backend;
}

/*
 * Merges duplicates: a backend may be in both sets, in several slots of one, and named by its own
 * entry too.
 */
static void memberships_merge(struct snapshot *snapshot)
{
	size_t kept = 0;

	qsort(snapshot->memberships, snapshot->membership_count, sizeof(*snapshot->memberships),
	      membership_compare);
	for (size_t i = 0; i < snapshot->membership_count; i++) {
		struct membership *from = &snapshot->memberships[i];
		struct membership *last = kept ? &snapshot->memberships[kept - 1] : NULL;

		if (last && !membership_compare(last, from)) {
			last->in_cluster |= from->in_cluster;
			last->in_local |= from->in_local;
		} else {
			snapshot->memberships[kept++] = *from;
		}
	}
	snapshot->membership_count = kept;
}

static void memberships_collect(struct snapshot *snapshot)
{
	struct growing_list list = {.snapshot = snapshot};

	for (__u32 id = 0; id < snapshot->service_count; id++) {
		const struct service *service = snapshot_service(snapshot, id);

		if (!service)
			continue;
		memberships_add_range(&list, id, service->cluster_slots, false);
		memberships_add_range(&list, id, service->local_slots, true);
	}
	for (__u32 id = 0; id < snapshot->backend_count; id++) {
		const struct backend *backend = snapshot_backend(snapshot, id, 0);

		if (backend && backend->state != BACKEND_ACTIVE &&
		    snapshot_service(snapshot, backend->service))
			membership_add(&list, (struct membership){.service = backend->service,
								  .backend = id});
	}
	if (snapshot->membership_count)
		memberships_merge(snapshot);
}

int snapshot_read(const struct shown_maps *maps, struct snapshot *snapshot)
{
	struct growing_list frontends = {.snapshot = snapshot};
	struct growing_list unprogrammed = {.snapshot = snapshot};
	int err;

	*snapshot = (struct snapshot){
		.service_count = maps->items[MAP_SERVICES].max_entries,
		.slot_count = maps->items[MAP_SLOTS].max_entries,
		.backend_count = maps->items[MAP_BACKENDS].max_entries,
	};
	snapshot->services = alloc_zeroed(snapshot->service_count, sizeof(*snapshot->services));
	snapshot->slots = alloc_zeroed(snapshot->slot_count, sizeof(*snapshot->slots));
	snapshot->backends = alloc_zeroed(snapshot->backend_count, sizeof(*snapshot->backends));
	snapshot->names = alloc_zeroed(snapshot->service_count, sizeof(*snapshot->names));
	err = arrays_read(maps, snapshot);
	if (err)
		return err;
	err = array_read(maps, MAP_SERVICE_NAMES, snapshot->names, snapshot->service_count);
	if (err)
		return err;
	err = shown_map_read(maps, MAP_FRONTENDS, frontend_add, &frontends);
	if (err)
		return err;
	err = shown_map_read(maps, MAP_UNPROGRAMMED, unprogrammed_add, &unprogrammed);
	if (err)
		return err;
	if (snapshot->frontend_count)
		qsort(snapshot->frontends, snapshot->frontend_count, sizeof(*snapshot->frontends),
		      frontend_compare);
	if (snapshot->unprogrammed_count)
		qsort(snapshot->unprogrammed, snapshot->unprogrammed_count,
		      sizeof(*snapshot->unprogrammed), unprogrammed_compare);
	memberships_collect(snapshot);
	return 0;
}

void snapshot_fini(struct snapshot *snapshot)
{
	free(snapshot->services);
	free(snapshot->slots);
	free(snapshot->backends);
	free(snapshot->names);
	free(snapshot->frontends);
	free(snapshot->unprogrammed);
	free(snapshot->memberships);
	*snapshot = (struct snapshot){0};
}

const struct service *snapshot_service(const struct snapshot *snapshot, __u32 id)
{
	if (!id || id >= snapshot->service_count ||
	    !(snapshot->services[id].flags & SERVICE_IN_USE))
		return NULL;
	return &snapshot->services[id];
}

const struct backend *snapshot_backend(const struct snapshot *snapshot, __u32 id, __u32 generation)
{
	const struct backend *backend;

	if (!id || id >= snapshot->backend_count)
		return NULL;
	backend = &snapshot->backends[id];
	if (backend->state == BACKEND_FREE || (generation && backend->generation != generation))
		return NULL;
	return backend;
}

struct service_text snapshot_text(const struct snapshot *snapshot, __u32 id)
{
	struct service_text text = {0};

	if (id >= snapshot->service_count)
		return text;
	(void)text_of_array(snapshot->names[id].namespace_, text.namespace_);
	(void)text_of_array(snapshot->names[id].name, text.name);
	(void)text_of_array(snapshot->names[id].port_name, text.port_name);
	return text;
}

const char *snapshot_label(const struct snapshot *snapshot, __u32 id, char buf[SERVICE_LABEL_SIZE])
{
	struct service_text text = snapshot_text(snapshot, id);
	size_t frontend_count;
	const struct snapshot_frontend *frontends =
		snapshot_frontends(snapshot, id, &frontend_count);

	if (!*text.name)
		(void)snprintf(buf, SERVICE_LABEL_SIZE, "service port %u", id);
	else if (*text.port_name)
		(void)snprintf(buf, SERVICE_LABEL_SIZE, "%s/%s:%s", text.namespace_, text.name,
			       text.port_name);
	else if (frontend_count)
		(void)snprintf(buf, SERVICE_LABEL_SIZE, "%s/%s:%u/%s", text.namespace_, text.name,
			       ntohs(frontends->frontend.port),
			       proto_name(frontends->frontend.proto));
	else
		(void)snprintf(buf, SERVICE_LABEL_SIZE, "%s/%s", text.namespace_, text.name);
	return buf;
}

static __u32 sorted_items_id(const struct sorted_items *sorted, size_t index)
{
	__u32 id;

	memcpy(&id, (const char *)sorted->items + index * sorted->size + sorted->id_offset,
	       sizeof(id));
	return id;
}

const void *sorted_items_find(const struct sorted_items *sorted, __u32 id, size_t *ret_count)
{
	size_t low = 0;
	size_t high = sorted->count;
	size_t end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sorted_items_id(sorted, middle) < id)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < sorted->count && sorted_items_id(sorted, end) == id;)
		end++;
	*ret_count = end - low;
	return end > low ? (const char *)sorted->items + low * sorted->size : NULL;
}

const struct snapshot_frontend *snapshot_frontends(const struct snapshot *snapshot, __u32 id,
						   size_t *ret_count)
{
	struct sorted_items sorted = {
		.items = snapshot->frontends,
		.count = snapshot->frontend_count,
		.size = sizeof(*snapshot->frontends),
		.id_offset = offsetof(struct snapshot_frontend, target.service),
	};

	return sorted_items_find(&sorted, id, ret_count);
}

const struct membership *snapshot_memberships(const struct snapshot *snapshot, __u32 id,
					      size_t *ret_count)
{
	struct sorted_items sorted = {
		.items = snapshot->memberships,
		.count = snapshot->membership_count,
		.size = sizeof(*snapshot->memberships),
		.id_offset = offsetof(struct membership, service),
	};

	return sorted_items_find(&sorted, id, ret_count);
}

__u32 snapshot_slots_used(const struct snapshot *snapshot)
{
	auto_cleanup(cleanup_free) unsigned char *used = alloc_zeroed(snapshot->slot_count, 1);
	__u32 count = 0;

	for (__u32 id = 0; id < snapshot->service_count; id++) {
		const struct service *service = snapshot_service(snapshot, id);
		const struct slot_range *ranges[] = {service ? &service->cluster_slots : NULL,
						     service ? &service->local_slots : NULL};

		for (int r = 0; r < 2; r++) {
			for (__u32 i = 0; ranges[r] && i < ranges[r]->count &&
					  ranges[r]->first + (__u64)i < snapshot->slot_count;
			     i++)
				used[ranges[r]->first + i] = 1;
		}
	}
	for (__u32 i = 0; i < snapshot->slot_count; i++)
		count += used[i];
	return count;
}
