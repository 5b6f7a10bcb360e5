/* SPDX-License-Identifier: BSD-2-Clause */

/* Opening and closing a publisher: maps its maps and adopts what an earlier run left in them. */

#include "publish/publisher_parts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "publish/mapped_array.h"

int map_size(int map, uint32_t *ret_entries)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &info_size))
		return -errno;
	*ret_entries = info.max_entries;
	return 0;
}

static int maps_measure(struct publisher *publisher)
{
	const struct publish_maps *maps = &publisher->maps;
	uint32_t addresses = 0;
	int err;

	err = map_size(maps->frontends, &publisher->frontends_max);
	if (!err)
		err = map_size(maps->address_flows, &publisher->addresses_max);
	if (!err)
		err = map_size(maps->addresses, &addresses);
	if (addresses < publisher->addresses_max)
		publisher->addresses_max = addresses;
	return err;
}

static int maps_map(struct publisher *publisher)
{
	const struct publish_maps *maps = &publisher->maps;
	int err = maps_measure(publisher);

	if (err)
		return err;
	publisher->services =
		mapped_array_of(maps->services, maps->services_max, sizeof(struct service));
	if (!publisher->services)
		return -errno;
	publisher->slots = mapped_array_of(maps->slots, maps->slots_max, sizeof(struct slot));
	if (!publisher->slots)
		return -errno;
	publisher->backends =
		mapped_array_of(maps->backends, maps->backends_max, sizeof(struct backend));
	if (!publisher->backends)
		return -errno;
	publisher->address_flows = mapped_array_of(maps->address_flows, publisher->addresses_max,
						   sizeof(struct address_flows));
	if (!publisher->address_flows)
		return -errno;
	publisher->node_ports = mapped_array_of(maps->node_ports, 1, sizeof(struct node_ports));
	return publisher->node_ports ? 0 : -errno;
}

static int tables_init(struct publisher *publisher)
{
	const struct publish_maps *maps = &publisher->maps;

	publisher->backend_records =
		mapped_array_new(maps->backends_max, sizeof(*publisher->backend_records));
	publisher->address_records =
		mapped_array_new(publisher->addresses_max, sizeof(*publisher->address_records));
	publisher->ipv6 = mapped_array_new(publisher->addresses_max, sizeof(*publisher->ipv6));
	publisher->service_uses =
		mapped_array_new(maps->services_max, sizeof(*publisher->service_uses));
	if (!publisher->backend_records || !publisher->address_records || !publisher->ipv6 ||
	    !publisher->service_uses || id_pool_init(&publisher->service_ids, maps->services_max) ||
	    id_pool_init(&publisher->backend_ids, maps->backends_max) ||
	    id_pool_init(&publisher->address_ids, publisher->addresses_max) ||
	    id_pool_init(&publisher->ipv6_ids, publisher->addresses_max) ||
	    id_index_init(&publisher->backend_index, maps->backends_max) ||
	    id_index_init(&publisher->address_index, publisher->addresses_max) ||
	    buddy_init(&publisher->free_slots, maps->slots_max))
		return -ENOMEM;
	return 0;
}

static void publisher_freep(struct publisher **publisher)
{
	publisher_close(*publisher);
}

int publisher_open(const struct publish_maps *maps, struct publisher **ret_publisher)
{
	auto_cleanup(publisher_freep) struct publisher *publisher = calloc(1, sizeof(*publisher));
	int err;

	if (!publisher)
		return log_err(-ENOMEM, "cannot allocate the publisher");
	publisher->maps = *maps;
	err = maps_map(publisher);
	if (err)
		return log_err(err, "cannot map the maps of the datapath");
	err = tables_init(publisher);
	if (err)
		return log_err(err, "cannot allocate the publisher's tables");
	err = adopt(publisher);
	if (err)
		return log_err(err, "cannot read what the maps hold");
	*ret_publisher = take_ptr(publisher);
	return 0;
}

static void services_free(struct publisher *publisher)
{
	struct service_record *service;
	uint32_t position = 0;

	while ((service = lookup_next(&publisher->by_name, &position))) {
		while (service->ports) {
			struct port_record *port = service->ports;

			service->ports = port->next;
			port_free(port);
		}
		free(service->left_alone);
		free(service->unprogrammed);
		free(service);
	}
	lookup_fini(&publisher->by_name);
}

void publisher_close(struct publisher *publisher)
{
	if (!publisher)
		return;
	services_free(publisher);
	mapped_array_free(publisher->services, publisher->maps.services_max,
			  sizeof(struct service));
	mapped_array_free(publisher->slots, publisher->maps.slots_max, sizeof(struct slot));
	mapped_array_free(publisher->backends, publisher->maps.backends_max,
			  sizeof(struct backend));
	mapped_array_free(publisher->address_flows, publisher->addresses_max,
			  sizeof(struct address_flows));
	mapped_array_free(publisher->node_ports, 1, sizeof(struct node_ports));
	id_pool_fini(&publisher->service_ids);
	id_pool_fini(&publisher->backend_ids);
	id_pool_fini(&publisher->address_ids);
	id_pool_fini(&publisher->ipv6_ids);
	id_index_fini(&publisher->backend_index);
	id_index_fini(&publisher->address_index);
	buddy_fini(&publisher->free_slots);
	mapped_array_free(publisher->backend_records, publisher->maps.backends_max,
			  sizeof(*publisher->backend_records));
	mapped_array_free(publisher->address_records, publisher->addresses_max,
			  sizeof(*publisher->address_records));
	mapped_array_free(publisher->ipv6, publisher->addresses_max, sizeof(*publisher->ipv6));
	mapped_array_free(publisher->service_uses, publisher->maps.services_max,
			  sizeof(*publisher->service_uses));
	free(publisher->grace.items);
	free(publisher->waiting.items);
	free(publisher->left);
	free(publisher);
}
