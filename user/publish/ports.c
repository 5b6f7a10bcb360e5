/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/ports.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fairlead/atomic.h"
#include "publish/publisher_parts.h"
#include "publish/reasons.h"

/* All that a change needs, prepared before anything is changed. */
struct change {
	struct port_backend *backends; /* ascending by id */
	uint32_t count;
	uint32_t *cluster, *local; /* ids of the lists */
	uint32_t cluster_count, local_count;
	struct slot_range cluster_range, local_range;
	bool swings_cluster, swings_local;
	uint32_t *addresses;    /* by planned frontend: index of its address if it is new; else 0 */
	uint32_t ranges_before; /* how many source ranges the port had */
};

static void change_fini(const struct change *change)
{
	free(change->backends);
	free(change->cluster);
	free(change->local);
	free(change->addresses);
}

static uint32_t facts_of(const struct planned_backend *planned)
{
	return (planned->in_cluster ? FACT_CLUSTER : 0) |
	       (planned->in_local ? FACT_LOCAL_LIST : 0) |
	       (planned->terminating ? FACT_TERMINATING : 0) |
	       (planned->is_local ? FACT_ON_THIS_NODE : 0) |
	       (planned->has_node ? FACT_HAS_NODE : 0);
}

/* Gets an id for each planned backend, and sorts them into the lists. */
static int change_add_backends(struct backend_set *set, const struct planned_port *planned,
			       struct change *change)
{
	if (!planned->backend_count)
		return 0;
	change->backends = calloc(planned->backend_count, sizeof(*change->backends));
	change->cluster = calloc(planned->backend_count, sizeof(*change->cluster));
	change->local = calloc(planned->backend_count, sizeof(*change->local));
	if (!change->backends || !change->cluster || !change->local)
		return -ENOMEM;
	for (size_t i = 0; i < planned->backend_count; i++) {
		const struct planned_backend *backend = &planned->backends[i];
		uint32_t id = backend_set_get_or_add(set, backend, planned->name.proto);

		if (!id)
			return -ENOSPC;
		change->backends[change->count++] =
			(struct port_backend){.id = id, .facts = facts_of(backend)};
	}
	port_backends_sort(change->backends, change->count);
	for (uint32_t i = 0; i < change->count; i++) {
		const struct port_backend *backend = &change->backends[i];

		if (backend->facts & FACT_CLUSTER)
			change->cluster[change->cluster_count++] = backend->id;
		if (backend->facts & FACT_LOCAL_LIST)
			change->local[change->local_count++] = backend->id;
	}
	return 0;
}

/* Writes the lists that the plan uses and that differ from the current ones. */
static int change_write_lists(struct slot_lists *lists, const struct planned_port *planned,
			      const struct service *entry, struct change *change)
{
	int err;

	change->swings_cluster = planned->uses_cluster &&
				 !slot_lists_equal(lists, entry->cluster_slots, change->cluster,
						   change->cluster_count, planned->empty_cluster);
	change->swings_local =
		planned->uses_local && !slot_lists_equal(lists, entry->local_slots, change->local,
							 change->local_count, planned->empty_local);
	if (change->swings_cluster) {
		err = slot_lists_write(lists, change->cluster, change->cluster_count,
				       planned->empty_cluster, &change->cluster_range);
		if (err)
			return err;
	}
	if (change->swings_local)
		return slot_lists_write(lists, change->local, change->local_count,
					planned->empty_local, &change->local_range);
	return 0;
}

/*
 * Does all that can fail. Programs do not use any of it yet, so on failure change_undo takes it
 * back, except for the name, which comes last.
 */
static int change_prepare(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned, struct change *change)
{
	int err;

	change->addresses = calloc(planned->frontend_count + 1, sizeof(*change->addresses));
	if (!change->addresses)
		return -ENOMEM;
	err = frontend_set_prepare(&publisher->frontends, port, planned, change->addresses);
	if (err)
		return err;
	err = change_add_backends(&publisher->backends, planned, change);
	if (err)
		return err;
	err = change_write_lists(&publisher->lists, planned, &publisher->services.entries[port->id],
				 change);
	if (err)
		return err;
	/* A backend's replies must be recognised before the first packet goes to it. */
	for (uint32_t i = 0; i < change->count; i++) {
		err = backend_set_sync_address(&publisher->backends, change->backends[i].id);
		if (err)
			return err;
	}
	err = source_ranges_add(&publisher->ranges, port, planned);
	if (err)
		return err;
	return service_set_write_name(&publisher->services, port->id, &planned->name);
}

static void change_undo(struct publisher *publisher, struct port_record *port,
			const struct planned_port *planned, const struct change *change)
{
	source_ranges_undo(&publisher->ranges, port, change->ranges_before);
	slot_lists_drop(&publisher->lists, change->cluster_range);
	slot_lists_drop(&publisher->lists, change->local_range);
	/* Frontends first: the last backend at an address takes the address's record with it. */
	if (change->addresses)
		frontend_set_undo(&publisher->frontends, planned, change->addresses);
	for (uint32_t i = 0; i < change->count; i++)
		backend_set_drop_unused(&publisher->backends, change->backends[i].id);
}

/*
 * Uncounts the backends that a service port had before, whose lists are swung already; it may still
 * have some of them.
 */
static void port_uncount_backends(struct publisher *publisher, uint32_t service_id,
				  const struct port_backend *backends, uint32_t count)
{
	const struct service *service = &publisher->services.entries[service_id];
	struct backend_set *set = &publisher->backends;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = backends[i].id;

		backend_set_lose(set, id, backends[i].facts);
		if (backends[i].facts & FACT_MEMBER && set->entries[id].proto == IPPROTO_UDP &&
		    !slot_lists_serve(&publisher->lists, service, id))
			backend_set_add_departure(set, service_id, id);
	}
}

/*
 * Swings the complete lists, then stores the flags that say which list applies. A list that no
 * longer applies stays as it is for a grace period, because a program that has read the old flags
 * may look at it next. Source ranges are still checked until the frontends are as planned
 * (change_open).
 */
static void change_swing(struct publisher *publisher, const struct planned_port *planned,
			 uint32_t service_id, const struct change *change)
{
	struct service *service = &publisher->services.entries[service_id];
	__u32 before = service->flags;

	service->affinity_timeout_s = planned->affinity_timeout_s;
	if (change->swings_cluster)
		slot_lists_swing(&publisher->lists, &service->cluster_slots, change->cluster_range);
	if (change->swings_local)
		slot_lists_swing(&publisher->lists, &service->local_slots, change->local_range);
	STORE_RELEASE(service->flags,
		      planned->flags | SERVICE_IN_USE | (before & SERVICE_SOURCE_RANGES));
	if (before & SERVICE_IN_USE && slot_lists_change_use(before, planned->flags))
		service_set_retire_list(&publisher->services, service_id);
}

/*
 * Stores the planned flags once the frontends are as planned: a load-balancer IP that is about to
 * go must not be open to everybody for its last moment.
 */
static void change_open(struct service *service, const struct planned_port *planned)
{
	if (service->flags != (planned->flags | SERVICE_IN_USE))
		STORE_RELEASE(service->flags, planned->flags | SERVICE_IN_USE);
}

/* Commits the prepared lists of a service port. Returns true if that changed what programs see. */
static bool change_commit(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned, struct change *change)
{
	const struct service *service = &publisher->services.entries[port->id];
	struct port_backend *before = port->backends;
	uint32_t before_count = port->backend_count;
	bool is_seen = change->swings_cluster || change->swings_local ||
		       service->flags != (planned->flags | SERVICE_IN_USE) ||
		       service->affinity_timeout_s != planned->affinity_timeout_s;

	if (!is_seen && before_count == change->count &&
	    (!before_count || !memcmp(before, change->backends, before_count * sizeof(*before))))
		return false;
	/* They count before a list shows them to programs. */
	for (uint32_t i = 0; i < change->count; i++)
		backend_set_gain(&publisher->backends, &publisher->services, change->backends[i].id,
				 change->backends[i].facts, port->id);
	if (is_seen)
		change_swing(publisher, planned, port->id, change);
	port->backends = change->count ? take_ptr(change->backends) : NULL;
	port->backend_count = change->count;
	port_uncount_backends(publisher, port->id, before, before_count);
	free(before);
	return is_seen;
}

void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port)
{
	struct service *entry = &publisher->services.entries[port->id];

	frontend_set_remove_all(&publisher->frontends, port);
	slot_lists_swing(&publisher->lists, &entry->cluster_slots, (struct slot_range){});
	slot_lists_swing(&publisher->lists, &entry->local_slots, (struct slot_range){});
	STORE_RELEASE(entry->flags, 0);
	entry->affinity_timeout_s = 0;
	reasons_forget_taken(&publisher->services, publisher->unprogrammed, port);
	(void)bpf_map_delete_elem(publisher->services.names, &port->id);
	(void)source_ranges_remove_others(&publisher->ranges, port, NULL);
	retire(&publisher->retirement, RETIRED_SERVICE, port->id, 1);
	port_uncount_backends(publisher, port->id, port->backends, port->backend_count);
	service_set_remove_port(&publisher->services, service, port);
}

int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned)
{
	struct port_record *port =
		service_set_find_port(&publisher->services, service, &planned->name);
	auto_cleanup(change_fini) struct change change = {};
	bool is_new = !port, is_seen;
	int err;

	if (is_new) {
		err = service_set_add_port(&publisher->services, service, &planned->name, &port);
		if (err)
			return err;
	}
	port->is_claimed = port->is_planned = true;
	change.ranges_before = port->range_count;
	err = change_prepare(publisher, port, planned, &change);
	if (err) {
		change_undo(publisher, port, planned, &change);
		if (is_new)
			service_set_undo_port(&publisher->services, service, port);
		return err;
	}
	if (is_new)
		service_set_clear_stats(&publisher->services, port->id);
	is_seen = change_commit(publisher, port, planned, &change);
	err = frontend_set_apply(&publisher->frontends, port, planned, change.addresses, &is_seen);
	change_open(&publisher->services.entries[port->id], planned);
	is_seen |= source_ranges_remove_others(&publisher->ranges, port, planned);
	publisher->changed_service_ports += is_seen;
	if (err) {
		frontend_set_undo(&publisher->frontends, planned, change.addresses);
		if (is_new)
			port_retire(publisher, service, port);
	}
	return err;
}
