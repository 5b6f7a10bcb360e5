/* SPDX-License-Identifier: BSD-2-Clause */

/* Service ports: completed in entries that no program looks at, then swung into place. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fairlead/atomic.h"
#include "publish/publisher_parts.h"

struct port_record *port_find(const struct service_record *service, const char *port_name,
			      __u8 proto, __u8 family)
{
	struct port_record *port = service->ports;

	while (port && (port->proto != proto || port->family != family ||
			strcmp(port->port_name, port_name)))
		port = port->next;
	return port;
}

struct port_record *port_new(struct service_record *service, const struct service_name *name,
			     uint32_t id)
{
	size_t length = strnlen(name->port_name, NAME_SIZE - 1);
	struct port_record *port = calloc(1, sizeof(*port) + length + 1);

	if (!port)
		return NULL;
	memcpy(port->port_name, name->port_name, length);
	port->proto = name->proto;
	port->family = name->family;
	port->id = id;
	port->next = service->ports;
	service->ports = port;
	return port;
}

void port_free(struct port_record *port)
{
	free(port->frontends);
	free(port->backends);
	free(port->ranges);
	free(port);
}

static void port_unlink(struct service_record *service, struct port_record *port)
{
	struct port_record **link = &service->ports;

	while (*link && *link != port)
		link = &(*link)->next;
	if (*link)
		*link = port->next;
	port_free(port);
}

/* All that a change needs, prepared before anything is changed. */
struct change {
	struct port_backend *backends; /* ascending by id */
	uint32_t count;
	uint32_t *cluster, *local; /* ids of the lists */
	uint32_t cluster_count, local_count;
	struct slot_range cluster_range, local_range;
	bool swings_cluster, swings_local;
	uint32_t *addresses; /* by planned frontend: index of its address if it is new; else 0 */
};

static void change_fini(const struct change *change)
{
	free(change->backends);
	free(change->cluster);
	free(change->local);
	free(change->addresses);
}

static int compare_ids(const void *a, const void *b)
{
	const struct port_backend *left = a, *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

static uint32_t facts_of(const struct planned_backend *planned)
{
	return (planned->in_cluster ? MEMBER_CLUSTER : 0) | (planned->in_local ? MEMBER_LOCAL : 0) |
	       (planned->terminating ? BACKEND_TERMINATING : 0) |
	       (planned->is_local ? BACKEND_HERE : 0) | (planned->has_node ? BACKEND_SOMEWHERE : 0);
}

static int change_take_backends(struct publisher *publisher, const struct planned_port *planned,
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
		uint32_t id = backend_take(publisher, backend, planned->name.proto);

		if (!id)
			return -ENOSPC;
		change->backends[change->count++] =
			(struct port_backend){.id = id, .facts = facts_of(backend)};
	}
	return 0;
}

static void change_sort(struct change *change)
{
	if (change->count)
		qsort(change->backends, change->count, sizeof(*change->backends), compare_ids);
	for (uint32_t i = 0; i < change->count; i++) {
		const struct port_backend *backend = &change->backends[i];

		if (backend->facts & MEMBER_CLUSTER)
			change->cluster[change->cluster_count++] = backend->id;
		if (backend->facts & MEMBER_LOCAL)
			change->local[change->local_count++] = backend->id;
	}
}

/* Writes the lists that the plan uses and that differ from the current ones. */
static int change_write_lists(struct publisher *publisher, const struct planned_port *planned,
			      const struct service *service, struct change *change)
{
	int err = 0;

	change->swings_cluster = planned->uses_cluster &&
				 !list_equals(publisher, service->cluster_slots, change->cluster,
					      change->cluster_count, planned->empty_cluster);
	change->swings_local =
		planned->uses_local && !list_equals(publisher, service->local_slots, change->local,
						    change->local_count, planned->empty_local);
	if (change->swings_cluster)
		err = list_write(publisher, change->cluster, change->cluster_count,
				 planned->empty_cluster, &change->cluster_range);
	if (!err && change->swings_local)
		err = list_write(publisher, change->local, change->local_count,
				 planned->empty_local, &change->local_range);
	return err;
}

/* A backend's replies must be recognised before the first packet goes to it. */
static int change_write_addresses(struct publisher *publisher, const struct change *change)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < change->count; i++)
		err = address_settle(publisher,
				     publisher->backend_records[change->backends[i].id].address);
	return err;
}

/*
 * Does all that can fail. Programs do not see any of it yet, so on failure change_undo takes it
 * back.
 */
static int change_prepare(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned, struct change *change)
{
	int err;

	change->addresses = calloc(planned->frontend_count + 1, sizeof(*change->addresses));
	if (!change->addresses)
		return -ENOMEM;
	err = frontends_prepare(publisher, port, planned, change->addresses);
	if (!err)
		err = change_take_backends(publisher, planned, change);
	if (err)
		return err;
	change_sort(change);
	err = change_write_lists(publisher, planned, service_at(publisher, port->id), change);
	return err ? err : change_write_addresses(publisher, change);
}

static void change_undo(struct publisher *publisher, const struct planned_port *planned,
			const struct change *change)
{
	list_drop(publisher, change->cluster_range);
	list_drop(publisher, change->local_range);
	/* Frontends first: the last backend at an address takes the address's record with it. */
	if (change->addresses)
		frontends_undo(publisher, planned, change->addresses);
	for (uint32_t i = 0; i < change->count; i++)
		backend_drop_unused(publisher, change->backends[i].id);
}

static bool service_is_in_use(const struct publisher *publisher, uint32_t id)
{
	return id && id < publisher->maps.services_max &&
	       service_at(publisher, id)->flags & SERVICE_IN_USE;
}

/* Counts the backends of the change before a list shows them to programs. */
static void change_count_new(struct publisher *publisher, const struct change *change,
			     uint32_t service_id)
{
	for (uint32_t i = 0; i < change->count; i++) {
		uint32_t id = change->backends[i].id, facts = change->backends[i].facts;
		struct backend_record *record = &publisher->backend_records[id];
		struct backend *backend = backend_at(publisher, id);

		record->known++;
		record->members += (facts & MEMBER_ANY) != 0;
		record->terminating = (facts & BACKEND_TERMINATING) != 0;
		backend->flags = (facts & BACKEND_HERE ? BACKEND_LOCAL : 0) |
				 (facts & BACKEND_SOMEWHERE ? BACKEND_ON_NODE : 0);
		if (!service_is_in_use(publisher, backend->service))
			backend->service = service_id;
		far_backend_settle(publisher, id);
		backend_settle(publisher, id);
	}
}

/* Uncounts the backends that a service port had before; it may still have some of them. */
static void port_uncount_backends(struct publisher *publisher, uint32_t service,
				  const struct port_backend *backends, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct backend_record *record = &publisher->backend_records[backends[i].id];
		bool was_member = backends[i].facts & MEMBER_ANY;

		record->known--;
		record->members -= was_member;
		backend_settle(publisher, backends[i].id);
		if (was_member)
			backend_note_left(publisher, service, backends[i].id);
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
	struct service *service = service_at(publisher, service_id);
	__u32 before = service->flags;

	service->affinity_timeout_s = planned->affinity_timeout_s;
	if (change->swings_cluster)
		list_swing(publisher, &service->cluster_slots, change->cluster_range);
	if (change->swings_local)
		list_swing(publisher, &service->local_slots, change->local_range);
	STORE_RELEASE(service->flags,
		      planned->flags | SERVICE_IN_USE | (before & SERVICE_SOURCE_RANGES));
	if (before & SERVICE_IN_USE && lists_change_use(before, planned->flags))
		retire(publisher, RETIRED_LIST, service_id, 0);
}

/*
 * Stores the planned flags once the frontends are as planned: a load-balancer IP that is about to
 * go must not be open to everybody for its last moment.
 */
static void change_open(struct publisher *publisher, const struct planned_port *planned,
			uint32_t service_id)
{
	struct service *service = service_at(publisher, service_id);

	if (service->flags != (planned->flags | SERVICE_IN_USE))
		STORE_RELEASE(service->flags, planned->flags | SERVICE_IN_USE);
}

/* True if the change alters what programs see. */
static bool change_is_seen(const struct planned_port *planned, const struct service *service,
			   const struct change *change)
{
	return change->swings_cluster || change->swings_local ||
	       service->flags != (planned->flags | SERVICE_IN_USE) ||
	       service->affinity_timeout_s != planned->affinity_timeout_s;
}

/* Commits the prepared lists of a service port. Returns true if that changed what programs see. */
static bool change_commit(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned, struct change *change)
{
	struct service *service = service_at(publisher, port->id);
	struct port_backend *before = port->backends;
	uint32_t before_count = port->backend_count;
	bool is_seen = change_is_seen(planned, service, change);

	if (!is_seen && before_count == change->count &&
	    (!before_count || !memcmp(before, change->backends, before_count * sizeof(*before))))
		return false;
	change_count_new(publisher, change, port->id);
	if (is_seen)
		change_swing(publisher, planned, port->id, change);
	port->backends = change->count ? take_ptr(change->backends) : NULL;
	port->backend_count = change->count;
	port_uncount_backends(publisher, port->id, before, before_count);
	free(before);
	return is_seen;
}

static int name_write(struct publisher *publisher, uint32_t id, const struct service_name *name)
{
	struct service_name before;

	if (!bpf_map_lookup_elem(publisher->maps.service_names, &id, &before) &&
	    !memcmp(&before, name, sizeof(before)))
		return 0;
	if (!bpf_map_update_elem(publisher->maps.service_names, &id, name, BPF_ANY))
		return 0;
	return errno == E2BIG ? publisher_is_full(publisher, FULL_SERVICES) : -errno;
}

void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port)
{
	struct service *entry = service_at(publisher, port->id);

	frontends_remove(publisher, port);
	list_swing(publisher, &entry->cluster_slots, (struct slot_range){});
	list_swing(publisher, &entry->local_slots, (struct slot_range){});
	STORE_RELEASE(entry->flags, 0);
	entry->affinity_timeout_s = 0;
	(void)bpf_map_delete_elem(publisher->maps.service_names, &port->id);
	(void)ranges_remove_others(publisher, port, NULL);
	retire(publisher, RETIRED_SERVICE, port->id, 1);
	port_uncount_backends(publisher, port->id, port->backends, port->backend_count);
	publisher->numbers.service_ports--;
	port_unlink(service, port);
}

static void stats_clear(const struct publisher *publisher, uint32_t id)
{
	int cpus = libbpf_num_possible_cpus();
	auto_cleanup(cleanup_free) struct service_stats *zero = NULL;

	if (cpus <= 0)
		return;
	zero = calloc((size_t)cpus, sizeof(*zero));
	if (zero)
		(void)bpf_map_update_elem(publisher->maps.service_stats, &id, zero, BPF_ANY);
}

static struct port_record *port_make(struct publisher *publisher, struct service_record *service,
				     const struct service_name *name, int *ret_err)
{
	uint32_t id = id_pool_alloc(&publisher->service_ids);
	struct port_record *port;

	if (!id) {
		*ret_err = publisher_is_full(publisher, FULL_SERVICES);
		return NULL;
	}
	port = port_new(service, name, id);
	if (!port) {
		id_pool_free(&publisher->service_ids, id);
		*ret_err = -ENOMEM;
		return NULL;
	}
	*service_at(publisher, id) = (struct service){};
	publisher->service_uses[id] = 1;
	publisher->numbers.service_ports++;
	return port;
}

/* Undoes port_make; no map has the port. */
static void port_unmake(struct publisher *publisher, struct service_record *service,
			struct port_record *port)
{
	service_id_release(publisher, port->id);
	publisher->numbers.service_ports--;
	port_unlink(service, port);
}

int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned)
{
	struct port_record *port = port_find(service, planned->name.port_name, planned->name.proto,
					     planned->name.family);
	auto_cleanup(change_fini) struct change change = {};
	bool is_new = !port, is_seen;
	int err = 0;

	if (is_new)
		port = port_make(publisher, service, &planned->name, &err);
	if (!port)
		return err;
	port->is_claimed = true;
	err = change_prepare(publisher, port, planned, &change);
	if (!err)
		err = name_write(publisher, port->id, &planned->name);
	if (!err)
		err = ranges_add(publisher, port, planned);
	if (err) {
		change_undo(publisher, planned, &change);
		if (is_new)
			port_unmake(publisher, service, port);
		return err;
	}
	if (is_new)
		stats_clear(publisher, port->id);
	is_seen = change_commit(publisher, port, planned, &change);
	err = frontends_apply(publisher, port, planned, change.addresses, &is_seen);
	change_open(publisher, planned, port->id);
	is_seen |= ranges_remove_others(publisher, port, planned);
	publisher->numbers.changed_service_ports += is_seen;
	if (err)
		frontends_undo(publisher, planned, change.addresses);
	if (err && is_new)
		port_retire(publisher, service, port);
	return err;
}
