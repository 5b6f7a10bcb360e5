/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/adoption.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mapped_array.h"
#include "publish/left_alone.h"
#include "publish/publisher_parts.h"
#include "publish/reasons.h"

struct adoption {
	struct publisher *publisher;
	struct port_record **ports;                        /* by service port id */
	uint32_t addresses, backends, services, frontends; /* entries repaired or removed */
};

typedef int (*visit_fn)(struct adoption *adoption, const void *key, const void *value);

struct visit {
	visit_fn fn;
	struct adoption *adoption;
	int err; /* the first one, which ends the visits */
};

static void visit_entry(const void *key, const void *value, void *context)
{
	struct visit *visit = context;

	if (!visit->err)
		visit->err = visit->fn(visit->adoption, key, value);
}

/* Calls `fn` with each key and value; it may delete the entry it is given. Logs. */
static int map_visit(int map, enum map_id id, visit_fn fn, struct adoption *adoption)
{
	struct visit visit = {.fn = fn, .adoption = adoption};
	int err = map_each(map, visit_entry, &visit);

	if (err)
		return log_err(err, "cannot read the map %s", map_table[id].name);
	return visit.err ? log_err(visit.err, "cannot adopt the entries of the map %s",
				   map_table[id].name)
			 : 0;
}

static int visit_address(struct adoption *adoption, const void *key, const void *value)
{
	struct address_set *addresses = &adoption->publisher->addresses;

	if (!address_set_adopt(addresses, key, value))
		return 0;
	adoption->addresses++;
	return bpf_map_delete_elem(addresses->map, key) ? -errno : 0;
}

/* True if the range is valid: empty, or reserved now and with a backend in each slot. */
static bool range_adopt(struct publisher *publisher, struct slot_range range)
{
	const struct backend_set *backends = &publisher->backends;
	struct slot_lists *lists = &publisher->lists;

	if (!range.count)
		return range.first <= EMPTY_DROP;
	if (range.first >= lists->max || range.count > lists->max - range.first)
		return false;
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = lists->slots[range.first + i].backend;

		if (!id || id >= backends->max || backends->entries[id].state == BACKEND_FREE)
			return false;
	}
	return slot_lists_adopt(lists, range);
}

/* Collects the backends of both lists, each once. */
static int port_adopt_backends(struct publisher *publisher, struct port_record *port)
{
	const struct service *service = &publisher->services.entries[port->id];
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
			.id = publisher->lists.slots[slot].backend,
			.facts = is_cluster ? FACT_CLUSTER : FACT_LOCAL_LIST,
		};
	}
	port_backends_sort(port->backends, bound);
	for (uint32_t i = 0; i < bound; i++) {
		if (count && port->backends[count - 1].id == port->backends[i].id)
			port->backends[count - 1].facts |= port->backends[i].facts;
		else
			port->backends[count++] = port->backends[i];
	}
	port->backend_count = count;
	for (uint32_t i = 0; i < count; i++)
		backend_set_adopt_member(&publisher->backends, port->backends[i].id);
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

/* Adopts the service port of that name; -EINVAL: it cannot be used. */
static int port_adopt(struct adoption *adoption, uint32_t id, const struct service_name *name)
{
	struct publisher *publisher = adoption->publisher;
	struct service_set *services = &publisher->services;
	struct service_record *record;
	struct port_record *port;

	if (!service_set_is_in_use(services, id) || !name_is_sound(name))
		return -EINVAL;
	record = service_set_get_or_add(services, name->namespace_, name->name);
	if (!record)
		return -ENOMEM;
	if (service_set_find_port(services, record, name))
		return -EINVAL;
	port = service_set_adopt_port(services, record, name, id);
	if (!port)
		return -ENOMEM;
	adoption->ports[id] = port;
	ranges_adopt(adoption, &services->entries[id]);
	slot_lists_empty_unused(&publisher->lists, &services->entries[id]);
	return port_adopt_backends(publisher, port);
}

static int visit_name(struct adoption *adoption, const void *key, const void *value)
{
	uint32_t id;
	int err;

	memcpy(&id, key, sizeof(id));
	err = port_adopt(adoption, id, value);
	if (err != -EINVAL)
		return err;
	adoption->services++;
	return bpf_map_delete_elem(adoption->publisher->services.names, key) ? -errno : 0;
}

/* A service port's entry without a name belongs to nothing: clears it; its id is free. */
static void services_repair(struct service_set *services)
{
	static const struct service unused;

	for (uint32_t id = 1; id < services->max; id++) {
		struct service *entry = &services->entries[id];

		if (!id_pool_has(&services->ids, id) && memcmp(entry, &unused, sizeof(unused)))
			*entry = unused;
	}
	id_pool_end_reserving(&services->ids);
}

/* The adopted service port that has the id, or NULL. */
static struct port_record *adopted_port(const struct adoption *adoption, uint32_t id)
{
	return id < adoption->publisher->services.max ? adoption->ports[id] : NULL;
}

static int visit_frontend(struct adoption *adoption, const void *key, const void *value)
{
	struct frontend_set *frontends = &adoption->publisher->frontends;
	const struct frontend_target *target = value;
	struct port_record *port = adopted_port(adoption, target->service);
	int err = port ? frontend_set_adopt(frontends, port, key, target) : -EINVAL;

	if (err != -EINVAL)
		return err;
	adoption->frontends++;
	return bpf_map_delete_elem(frontends->map, key) ? -errno : 0;
}

/*
 * A range that belongs to no service port is removed: it would admit its clients to the next port
 * that gets the id.
 */
static int visit_range(struct adoption *adoption, const void *key, const void *value)
{
	struct source_ranges *ranges = &adoption->publisher->ranges;
	const struct source_range *range = key;
	struct port_record *port = adopted_port(adoption, ntohl(range->service));
	int err = port ? source_ranges_adopt(ranges, port, range) : -EINVAL;

	(void)value;
	if (err != -EINVAL)
		return err;
	return bpf_map_delete_elem(ranges->map, key) ? -errno : 0;
}

/* An Event has said so already, of this or an earlier process. */
static void taken_adopt(const struct service_set *services, const struct service_record *service,
			const struct unprogrammed_key *key)
{
	struct service_name name = {.proto = key->proto, .family = key->family};
	struct port_record *port;

	memcpy(name.port_name, key->port_name, sizeof(name.port_name));
	port = memchr(name.port_name, 0, NAME_SIZE)
		       ? service_set_find_port(services, service, &name)
		       : NULL;
	if (port)
		port->is_reported = true;
}

static int visit_reason(struct adoption *adoption, const void *key, const void *value)
{
	struct publisher *publisher = adoption->publisher;
	const struct unprogrammed_key *reason = key;
	struct service_record *record;
	const struct unprogrammed *unprogrammed = value;
	struct unprogrammed_key *more;

	if (!memchr(reason->namespace_, 0, NAME_SIZE) || !memchr(reason->name, 0, NAME_SIZE))
		return bpf_map_delete_elem(publisher->unprogrammed, key) ? -errno : 0;
	record = service_set_get_or_add(&publisher->services, reason->namespace_, reason->name);
	if (!record)
		return -ENOMEM;
	more = realloc(record->unprogrammed, (record->unprogrammed_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	record->unprogrammed = more;
	record->unprogrammed[record->unprogrammed_count++] = *reason;
	if (unprogrammed->reason == UNPROGRAMMED_TAKEN)
		taken_adopt(&publisher->services, record, reason);
	return 0;
}

/*
 * An address that is no longer a VIP may still have flows. If it was external and has no frontends,
 * it may have been left alone, which only its Service can tell.
 */
static int former_vip_adopt(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->addresses.records[index];
	int err = 0;

	if (!(record->flags & ADDRESS_VIP) || record->vips || record->externals ||
	    record->node_ports)
		return 0;
	if (record->flags & ADDRESS_EXTERNAL)
		err = left_alone_adopt(&publisher->addresses, &publisher->services, index);
	record->retired++;
	retire_when_idle(&publisher->retirement, RETIRED_SERVICE, 0, index);
	return err;
}

/* Backends and addresses that nothing uses begin to leave. */
static int leftovers_adopt(struct publisher *publisher)
{
	struct address_set *addresses = &publisher->addresses;
	struct backend_set *backends = &publisher->backends;
	int err;

	for (uint32_t id = 1; id < backends->max; id++) {
		if (backends->entries[id].state != BACKEND_FREE)
			backend_set_sync(backends, id);
	}
	for (uint32_t index = 1; index < addresses->ids.next_fresh; index++) {
		if (!id_pool_has(&addresses->ids, index))
			continue;
		err = former_vip_adopt(publisher, index);
		(void)address_set_sync(addresses, index);
		if (err)
			return err;
	}
	return 0;
}

static int adoption_run(struct adoption *adoption)
{
	struct publisher *publisher = adoption->publisher;
	struct service_record *service;
	uint32_t position = 0;
	int err;

	err = map_visit(publisher->addresses.map, MAP_ADDRESSES, visit_address, adoption);
	if (err)
		return err;
	id_pool_end_reserving(&publisher->addresses.ids);
	backend_set_adopt(&publisher->backends, &adoption->backends);
	err = map_visit(publisher->services.names, MAP_SERVICE_NAMES, visit_name, adoption);
	if (err)
		return err;
	services_repair(&publisher->services);
	err = map_visit(publisher->frontends.map, MAP_FRONTENDS, visit_frontend, adoption);
	if (err)
		return err;
	err = map_visit(publisher->ranges.map, MAP_SOURCE_RANGES, visit_range, adoption);
	if (err)
		return err;
	/* Frontends and ranges were read in no order. */
	for (uint32_t id = 1; id < publisher->services.max; id++) {
		if (!adoption->ports[id])
			continue;
		frontends_sort(adoption->ports[id]);
		source_ranges_sort(adoption->ports[id]);
	}
	err = map_visit(publisher->unprogrammed, MAP_UNPROGRAMMED, visit_reason, adoption);
	if (err)
		return err;
	while ((service = lookup_next(&publisher->services.by_name, &position)))
		reasons_sort(service);
	err = leftovers_adopt(publisher);
	return err ? log_err(err, "cannot adopt addresses that were VIPs") : 0;
}

int adopt_maps(struct publisher *publisher)
{
	struct adoption adoption = {.publisher = publisher};
	size_t ports_max = publisher->services.max;
	int err;

	adoption.ports = mapped_array_new(ports_max, sizeof(void *));
	if (!adoption.ports)
		return log_err(-ENOMEM, "cannot adopt the maps of an earlier run");
	err = adoption_run(&adoption);
	mapped_array_free(adoption.ports, ports_max, sizeof(void *));
	if (err)
		return err;
	if (publisher->services.port_count)
		log_info("adopted %u service ports and %u backends of an earlier run",
			 publisher->services.port_count, publisher->backends.count);
	if (adoption.addresses || adoption.backends || adoption.services || adoption.frontends)
		log_warning("an earlier run ended in the middle of a change: put right %u service "
			    "ports, %u frontends, %u backends and %u addresses",
			    adoption.services, adoption.frontends, adoption.backends,
			    adoption.addresses);
	return 0;
}
