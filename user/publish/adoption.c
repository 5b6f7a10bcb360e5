/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Adoption: builds the publisher's records from what the pinned maps hold. An earlier run may have
 * ended at any point, so nothing is trusted: whatever is inconsistent is repaired or removed. Order
 * matters: addresses, then backends, then service ports, then what is left over.
 */

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "publish/publisher_parts.h"
#include "publish/mapped_array.h"

/* Roles of an address that flows may have as their VIP. */
#define ADDRESS_VIP (ADDRESS_CLUSTER_IP | ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS | ADDRESS_RETIRED)

struct adoption {
	struct publisher *publisher;
	struct port_record **ports;                        /* by service port id */
	uint32_t addresses, backends, services, frontends; /* entries repaired or removed */
};

typedef int (*visit_fn)(struct adoption *adoption, const void *key, const void *value);

#define BATCH 4096

/* All keys and values of a map. */
struct content {
	size_t room, key_size, value_size;
	char *keys, *values;
	size_t count;
};

static void content_fini(const struct content *content)
{
	mapped_array_free(content->keys, content->room, content->key_size);
	mapped_array_free(content->values, content->room, content->value_size);
}

/*
 * A batch holds whole buckets of the hash table: where a bucket does not fit, retry with a larger
 * batch.
 */
static int content_read(int map, struct content *content)
{
	uint32_t position = 0, batch = BATCH;
	bool is_first = true;

	while (true) {
		uint32_t count = batch;
		int err = 0;

		if (content->count + count > content->room)
			count = (uint32_t)(content->room - content->count);
		if (!count)
			return 0;
		if (bpf_map_lookup_batch(map, is_first ? NULL : &position, &position,
					 content->keys + content->count * content->key_size,
					 content->values + content->count * content->value_size,
					 &count, NULL))
			err = -errno;
		if (err == -ENOSPC && batch < content->room) {
			batch *= 2;
			continue;
		}
		if (err && err != -ENOENT)
			return err;
		content->count += count;
		is_first = false;
		if (err)
			return 0;
	}
}

/* Calls `visit` with each key and value; it may delete the entry it is given. */
static int map_visit(int map, size_t key_size, size_t value_size, visit_fn visit,
		     struct adoption *adoption)
{
	auto_cleanup(content_fini) struct content content = {
		.key_size = key_size,
		.value_size = value_size,
	};
	uint32_t entries = 0;
	int err = map_size(map, &entries);

	if (err)
		return err;
	content.room = (size_t)entries + BATCH;
	content.keys = mapped_array_new(content.room, key_size);
	content.values = mapped_array_new(content.room, value_size);
	if (!content.keys || !content.values)
		return -ENOMEM;
	err = content_read(map, &content);
	for (size_t i = 0; !err && i < content.count; i++)
		err = visit(adoption, content.keys + i * key_size, content.values + i * value_size);
	return err;
}

static int visit_address(struct adoption *adoption, const void *key, const void *value)
{
	if (!address_adopt(adoption->publisher, key, value))
		return 0;
	adoption->addresses++;
	return bpf_map_delete_elem(adoption->publisher->maps.addresses, key) ? -errno : 0;
}

/*
 * An entry that was not completed is still free. A backend of no service port begins to leave in
 * the end (leftovers_settle).
 */
static void backends_adopt(struct adoption *adoption)
{
	struct publisher *publisher = adoption->publisher;

	for (uint32_t id = 1; id < publisher->maps.backends_max; id++) {
		struct backend *backend = backend_at(publisher, id);

		if (backend->state == BACKEND_FREE || !backend_adopt(publisher, id))
			continue;
		backend->state = BACKEND_FREE;
		adoption->backends++;
	}
	id_pool_reserved(&publisher->backend_ids);
	far_backends_adopted(publisher);
}

/* True if the range is valid: empty, or reserved now and with a backend in each slot. */
static bool range_adopt(struct publisher *publisher, struct slot_range range)
{
	if (!range.count)
		return range.first <= EMPTY_DROP;
	if (range.first >= publisher->maps.slots_max ||
	    range.count > publisher->maps.slots_max - range.first)
		return false;
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = slot_at(publisher, range.first + i)->backend;

		if (!id || id >= publisher->maps.backends_max ||
		    backend_at(publisher, id)->state == BACKEND_FREE)
			return false;
	}
	if (buddy_reserve(&publisher->free_slots, range.first, range.count))
		return false;
	publisher->numbers.slots += range.count;
	return true;
}

static int compare_ids(const void *a, const void *b)
{
	const struct port_backend *left = a, *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

/* Collects the backends of both lists, each once. */
static int port_adopt_backends(struct publisher *publisher, struct port_record *port)
{
	const struct service *service = service_at(publisher, port->id);
	struct slot_range cluster = service->cluster_slots, local = service->local_slots;
	uint32_t bound = cluster.count + local.count, count = 0;

	if (!bound)
		return 0;
	port->backends = calloc(bound, sizeof(*port->backends));
	if (!port->backends)
		return -ENOMEM;
	for (uint32_t i = 0; i < bound; i++) {
		bool is_cluster = i < cluster.count;
		uint32_t slot = is_cluster ? cluster.first + i : local.first + i - cluster.count;

		port->backends[i] = (struct port_backend){
			.id = slot_at(publisher, slot)->backend,
			.facts = is_cluster ? MEMBER_CLUSTER : MEMBER_LOCAL,
		};
	}
	qsort(port->backends, bound, sizeof(*port->backends), compare_ids);
	for (uint32_t i = 0; i < bound; i++) {
		if (count && port->backends[count - 1].id == port->backends[i].id)
			port->backends[count - 1].facts |= port->backends[i].facts;
		else
			port->backends[count++] = port->backends[i];
	}
	port->backend_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct backend_record *record = &publisher->backend_records[port->backends[i].id];

		record->known++;
		record->members++;
		backend_settle(publisher, port->backends[i].id);
	}
	return 0;
}

static bool name_is_sound(const struct service_name *name)
{
	return memchr(name->namespace_, 0, NAME_SIZE) && memchr(name->name, 0, NAME_SIZE) &&
	       memchr(name->port_name, 0, NAME_SIZE) && name->name[0];
}

/* An invalid list becomes an empty one until a plan replaces it. */
static void ranges_adopt(struct adoption *adoption, struct service *service)
{
	struct slot_range *const words[] = {&service->cluster_slots, &service->local_slots};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (range_adopt(adoption->publisher, *words[i]))
			continue;
		*words[i] = (struct slot_range){};
		adoption->services++;
	}
}

static int visit_name(struct adoption *adoption, const void *key, const void *value)
{
	struct publisher *publisher = adoption->publisher;
	const struct service_name *name = value;
	struct service_record *record;
	struct port_record *port;
	uint32_t id;

	memcpy(&id, key, sizeof(id));
	if (!id || id >= publisher->maps.services_max || !name_is_sound(name) ||
	    !(service_at(publisher, id)->flags & SERVICE_IN_USE))
		goto remove;
	record = service_get(publisher, name->namespace_, name->name, true);
	if (!record)
		return -ENOMEM;
	if (port_find(record, name->port_name, name->proto, name->family))
		goto remove;
	port = port_new(record, name, id);
	if (!port)
		return -ENOMEM;
	(void)id_pool_reserve(&publisher->service_ids, id);
	publisher->service_uses[id] = 1;
	adoption->ports[id] = port;
	ranges_adopt(adoption, service_at(publisher, id));
	list_empty_unused(publisher, id);
	publisher->numbers.service_ports++;
	return port_adopt_backends(publisher, port);
remove:
	adoption->services++;
	return bpf_map_delete_elem(publisher->maps.service_names, key) ? -errno : 0;
}

/* A service port's entry without a name belongs to nothing: clears it; its id is free. */
static void services_repair(struct publisher *publisher)
{
	static const struct service unused;

	for (uint32_t id = 1; id < publisher->maps.services_max; id++) {
		struct service *service = service_at(publisher, id);

		if (!id_pool_has(&publisher->service_ids, id) &&
		    memcmp(service, &unused, sizeof(unused)))
			*service = unused;
	}
	id_pool_reserved(&publisher->service_ids);
}

static int visit_frontend(struct adoption *adoption, const void *key, const void *value)
{
	struct publisher *publisher = adoption->publisher;
	const struct frontend_target *target = value;
	struct port_record *port = NULL;
	int err = -EINVAL;

	if (target->service < publisher->maps.services_max)
		port = adoption->ports[target->service];
	if (port)
		err = frontend_adopt(publisher, port, key, target);
	if (err != -EINVAL)
		return err;
	adoption->frontends++;
	return bpf_map_delete_elem(publisher->maps.frontends, key) ? -errno : 0;
}

/*
 * A range that belongs to no service port is removed: it would admit its clients to the next port
 * that gets the id.
 */
static int visit_range(struct adoption *adoption, const struct source_range *key)
{
	struct publisher *publisher = adoption->publisher;
	const uint32_t id = ntohl(key->service);
	struct port_record *port = NULL;
	int err = -EINVAL;

	if (id < publisher->maps.services_max)
		port = adoption->ports[id];
	if (port)
		err = source_range_adopt(port, key);
	publisher->numbers.source_ranges += !err;
	if (err != -EINVAL)
		return err;
	return bpf_map_delete_elem(publisher->maps.source_ranges, key) ? -errno : 0;
}

/* Walks the trie key by key; a key may be deleted only once the next one is known. */
static int ranges_adopt_all(struct adoption *adoption)
{
	const int map = adoption->publisher->maps.source_ranges;
	struct source_range key, next;
	bool has_next = !bpf_map_get_next_key(map, NULL, &next);
	int err = 0;

	while (!err && has_next) {
		key = next;
		has_next = !bpf_map_get_next_key(map, &key, &next);
		err = visit_range(adoption, &key);
	}
	return err;
}

/* Frontends and ranges were read in no order: sorts them. */
static void ports_settle(struct adoption *adoption)
{
	for (uint32_t id = 1; id < adoption->publisher->maps.services_max; id++) {
		if (!adoption->ports[id])
			continue;
		frontends_adopted(adoption->ports[id]);
		ranges_adopted(adoption->ports[id]);
	}
}

static int visit_reason(struct adoption *adoption, const void *key, const void *value)
{
	struct publisher *publisher = adoption->publisher;
	const struct unprogrammed_key *reason = key;
	struct service_record *record = NULL;
	struct unprogrammed_key *more;

	(void)value;
	if (!memchr(reason->namespace_, 0, NAME_SIZE) || !memchr(reason->name, 0, NAME_SIZE))
		return bpf_map_delete_elem(publisher->maps.unprogrammed, key) ? -errno : 0;
	record = service_get(publisher, reason->namespace_, reason->name, true);
	if (!record)
		return -ENOMEM;
	more = realloc(record->unprogrammed, (record->unprogrammed_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	record->unprogrammed = more;
	record->unprogrammed[record->unprogrammed_count++] = *reason;
	return 0;
}

/*
 * An address that is no longer a VIP may still have flows. If it was external and has no frontends,
 * it may have been left alone, which only its Service can tell.
 */
static int address_settle_former(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->address_records[index];
	int err = 0;

	if (!(record->flags & ADDRESS_VIP) || record->vips || record->externals ||
	    record->node_ports)
		return 0;
	if (record->flags & ADDRESS_EXTERNAL)
		err = left_alone_adopt(publisher, index);
	record->retired++;
	retire_when_idle(publisher, RETIRED_SERVICE, 0, index);
	return err;
}

/* Backends and addresses that nothing uses begin to leave. */
static int leftovers_settle(struct publisher *publisher)
{
	int err = 0;

	for (uint32_t id = 1; id < publisher->maps.backends_max; id++) {
		if (backend_at(publisher, id)->state != BACKEND_FREE)
			backend_settle(publisher, id);
	}
	for (uint32_t index = 1; !err && index < publisher->address_ids.next_fresh; index++) {
		if (!id_pool_has(&publisher->address_ids, index))
			continue;
		err = address_settle_former(publisher, index);
		(void)address_settle(publisher, index);
	}
	return err;
}

static int maps_adopt(struct adoption *adoption)
{
	struct publisher *publisher = adoption->publisher;
	const struct publish_maps *maps = &publisher->maps;
	int err;

	err = map_visit(maps->addresses, sizeof(struct ip_addr), sizeof(struct address_info),
			visit_address, adoption);
	if (err)
		return err;
	id_pool_reserved(&publisher->address_ids);
	backends_adopt(adoption);
	err = map_visit(maps->service_names, sizeof(uint32_t), sizeof(struct service_name),
			visit_name, adoption);
	if (err)
		return err;
	services_repair(publisher);
	err = map_visit(maps->frontends, sizeof(struct frontend), sizeof(struct frontend_target),
			visit_frontend, adoption);
	if (!err)
		err = ranges_adopt_all(adoption);
	ports_settle(adoption);
	if (!err)
		err = map_visit(maps->unprogrammed, sizeof(struct unprogrammed_key),
				sizeof(struct unprogrammed), visit_reason, adoption);
	return err ? err : leftovers_settle(publisher);
}

int adopt(struct publisher *publisher)
{
	struct adoption adoption = {.publisher = publisher};
	size_t ports_max = publisher->maps.services_max;
	int err;

	adoption.ports = mapped_array_new(ports_max, sizeof(void *));
	if (!adoption.ports)
		return -ENOMEM;
	err = maps_adopt(&adoption);
	mapped_array_free(adoption.ports, ports_max, sizeof(void *));
	if (err)
		return err;
	if (publisher->numbers.service_ports)
		log_info("adopted %u service ports and %u backends of an earlier run",
			 publisher->numbers.service_ports, publisher->numbers.backends);
	if (adoption.addresses || adoption.backends || adoption.services || adoption.frontends)
		log_warning("an earlier run ended in the middle of a change: put right %u service "
			    "ports, "
			    "%u frontends, %u backends and %u addresses",
			    adoption.services, adoption.frontends, adoption.backends,
			    adoption.addresses);
	return 0;
}
