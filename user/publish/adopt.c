/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Adoption: makes the publisher know what the pinned maps hold. An earlier run may have ended at any point,
 * so nothing is believed: what does not fit together is put right or removed. Order matters: addresses,
 * then backends, then service ports, then what is left over.
 */

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "publish/publisher.h"

struct repairs {
	uint32_t addresses, backends, services, frontends;
};

/* Calls `visit` with each key and value; it may delete the entry it is given. */
static int map_visit(int map, void *key, void *value, size_t key_size,
		     int (*visit)(struct publisher *, const void *key, const void *value,
				  struct repairs *),
		     struct publisher *publisher, struct repairs *repairs)
{
	auto_cleanup(cleanup_free) char *keys = NULL;
	size_t count = 0, room = 0;
	int err = 0;

	/* Deleting while walking would begin the walk anew: so keys first. */
	for (void *last = NULL; !bpf_map_get_next_key(map, last, key); last = key) {
		if (count == room) {
			char *more = realloc(keys, (room = room ? room * 2 : 256) * key_size);

			if (!more)
				return -ENOMEM;
			keys = more;
		}
		memcpy(keys + count++ * key_size, key, key_size);
	}
	for (size_t i = 0; !err && i < count; i++) {
		if (!bpf_map_lookup_elem(map, keys + i * key_size, value))
			err = visit(publisher, keys + i * key_size, value, repairs);
	}
	return err;
}

static int visit_address(struct publisher *publisher, const void *key, const void *value,
			 struct repairs *repairs)
{
	if (!address_adopt(publisher, key, value))
		return 0;
	repairs->addresses++;
	return bpf_map_delete_elem(publisher->maps.addresses, key) ? -errno : 0;
}

/* An entry that stopped halfway has no state yet; one that nobody has by the end begins to leave. */
static int backends_adopt(struct publisher *publisher, struct repairs *repairs)
{
	for (uint32_t id = 1; id < publisher->maps.backends_max; id++) {
		struct backend *backend = &publisher->backends[id];
		int err;

		if (backend->state == BACKEND_FREE)
			continue;
		err = backend_adopt(publisher, id);
		if (err == -ENOMEM)
			return err;
		if (err) {
			backend->state = BACKEND_FREE;
			repairs->backends++;
		}
	}
	return 0;
}

/* True if the range is ours to take and leads to backends only. */
static bool range_adopt(struct publisher *publisher, struct slot_range range)
{
	if (!range.count)
		return range.first <= EMPTY_DROP;
	if (range.first >= publisher->maps.slots_max ||
	    range.count > publisher->maps.slots_max - range.first)
		return false;
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = publisher->slots[range.first + i].backend;

		if (!id || id >= publisher->maps.backends_max ||
		    publisher->backends[id].state == BACKEND_FREE)
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

/* The backends of both lists, each once. */
static int port_adopt_backends(struct publisher *publisher, struct port_record *port)
{
	const struct service *service = &publisher->services[port->id];
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
			.id = publisher->slots[slot].backend,
			.membership = is_cluster ? MEMBER_CLUSTER : MEMBER_LOCAL,
		};
	}
	qsort(port->backends, bound, sizeof(*port->backends), compare_ids);
	for (uint32_t i = 0; i < bound; i++) {
		if (count && port->backends[count - 1].id == port->backends[i].id)
			port->backends[count - 1].membership |= port->backends[i].membership;
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

static int visit_name(struct publisher *publisher, const void *key, const void *value,
		      struct repairs *repairs)
{
	const struct service_name *name = value;
	struct service_record *record;
	struct port_record *port;
	struct service *service;
	uint32_t id;

	memcpy(&id, key, sizeof(id));
	if (!id || id >= publisher->maps.services_max || !name_is_sound(name))
		goto remove;
	service = &publisher->services[id];
	record = service_get(publisher, name->namespace_, name->name, true);
	if (!record)
		return -ENOMEM;
	if (!(service->flags & SERVICE_IN_USE) ||
	    port_find(record, name->port_name, name->proto, name->family) ||
	    !id_pool_reserve(&publisher->service_ids, id)) {
		service_drop_empty(publisher, record);
		goto remove;
	}
	if (!range_adopt(publisher, service->cluster_slots)) {
		service->cluster_slots = (struct slot_range){};
		repairs->services++;
	}
	if (!range_adopt(publisher, service->local_slots)) {
		service->local_slots = (struct slot_range){};
		repairs->services++;
	}
	port = port_new(record, name, id);
	if (!port)
		return -ENOMEM;
	publisher->numbers.service_ports++;
	return port_adopt_backends(publisher, port);
remove:
	repairs->services++;
	return bpf_map_delete_elem(publisher->maps.service_names, key) ? -errno : 0;
}

/* A service port's entry without a name is nobody's: its id is free. */
static void services_repair(struct publisher *publisher)
{
	struct service_name name;

	for (uint32_t id = 1; id < publisher->maps.services_max; id++) {
		if (publisher->services[id].flags &&
		    bpf_map_lookup_elem(publisher->maps.service_names, &id, &name))
			publisher->services[id] = (struct service){};
	}
}

static struct port_record *port_by_id(struct publisher *publisher, uint32_t id)
{
	struct service_record *record;
	struct port_record *port = NULL;
	struct service_name name;

	if (bpf_map_lookup_elem(publisher->maps.service_names, &id, &name))
		return NULL;
	record = service_get(publisher, name.namespace_, name.name, false);
	if (record)
		port = port_find(record, name.port_name, name.proto, name.family);
	return port && port->id == id ? port : NULL;
}

static int visit_frontend(struct publisher *publisher, const void *key, const void *value,
			  struct repairs *repairs)
{
	const struct frontend_target *target = value;
	struct port_record *port = port_by_id(publisher, target->service);
	int err = 0;

	if (!port || port->vip) {
		repairs->frontends++;
		return bpf_map_delete_elem(publisher->maps.frontends, key) ? -errno : 0;
	}
	memcpy(&port->frontend, key, sizeof(port->frontend));
	port->kind = target->kind;
	port->vip = address_take(publisher, &port->frontend.vip, &err);
	if (!port->vip)
		return err;
	publisher->address_records[port->vip].vips++;
	publisher->numbers.frontends++;
	return 0;
}

static int visit_reason(struct publisher *publisher, const void *key, const void *value,
			struct repairs *repairs)
{
	const struct unprogrammed_key *reason = key;
	struct service_record *record;
	struct unprogrammed_key *more;

	(void)value;
	(void)repairs;
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

/* What nobody has begins to leave; what addresses mean is said anew. */
static void leftovers_settle(struct publisher *publisher)
{
	for (uint32_t id = 1; id < publisher->maps.backends_max; id++) {
		if (publisher->backends[id].state != BACKEND_FREE)
			backend_settle(publisher, id);
	}
	for (uint32_t index = 1; index < publisher->addresses_max; index++) {
		struct address_record *record = &publisher->address_records[index];

		if (!record->flags && !record->vips && !record->backends)
			continue;
		(void)address_settle(publisher, index);
		if (record->was_vip && !record->vips && !record->is_waiting) {
			record->is_waiting = true;
			retire_when_idle(publisher, RETIRED_ADDRESS_INDEX, index);
		}
	}
}

int adopt(struct publisher *publisher)
{
	const struct publish_maps *maps = &publisher->maps;
	struct frontend_target target;
	struct unprogrammed reason;
	struct unprogrammed_key reason_key;
	struct address_info info;
	struct service_name name;
	struct frontend frontend;
	struct repairs repairs = {};
	struct ip_addr addr;
	uint32_t id;
	int err;

	err = map_visit(maps->addresses, &addr, &info, sizeof(addr), visit_address, publisher, &repairs);
	if (!err)
		err = backends_adopt(publisher, &repairs);
	if (!err)
		err = map_visit(maps->service_names, &id, &name, sizeof(id), visit_name, publisher,
				&repairs);
	if (!err)
		services_repair(publisher);
	if (!err)
		err = map_visit(maps->frontends, &frontend, &target, sizeof(frontend), visit_frontend,
				publisher, &repairs);
	if (!err)
		err = map_visit(maps->unprogrammed, &reason_key, &reason, sizeof(reason_key),
				visit_reason, publisher, &repairs);
	if (err)
		return err;
	leftovers_settle(publisher);
	publisher->left_count = 0;
	if (publisher->numbers.service_ports)
		log_info("adopted %u service ports and %u backends of an earlier run",
			 publisher->numbers.service_ports, publisher->numbers.backends);
	if (repairs.addresses || repairs.backends || repairs.services || repairs.frontends)
		log_warning("an earlier run ended in the middle of a change: put right %u service ports, "
			    "%u frontends, %u backends and %u addresses",
			    repairs.services, repairs.frontends, repairs.backends, repairs.addresses);
	return 0;
}
