/* SPDX-License-Identifier: BSD-2-Clause */

/* Service ports: what a plan wants is made complete where nobody looks, then swung into place. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "publish/publisher.h"

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

static void port_unlink(struct service_record *service, struct port_record *port)
{
	struct port_record **link = &service->ports;

	while (*link && *link != port)
		link = &(*link)->next;
	if (*link)
		*link = port->next;
	free(port->backends);
	free(port);
}

/* Everything a change needs, made before anything is changed. */
struct change {
	struct port_backend *backends; /* ascending by id */
	uint32_t count;
	uint32_t *cluster, *local; /* ids of the lists */
	uint32_t cluster_count, local_count;
	struct slot_range cluster_range, local_range;
	bool swings_cluster, swings_local;
};

static void change_fini(const struct change *change)
{
	free(change->backends);
	free(change->cluster);
	free(change->local);
}

static int compare_ids(const void *a, const void *b)
{
	const struct port_backend *left = a, *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

/* Gives back the ids that were made for a change that does not come. */
static void change_drop_ids(struct publisher *publisher, const struct change *change)
{
	for (uint32_t i = 0; i < change->count; i++)
		backend_drop_unused(publisher, change->backends[i].id);
}

static int change_take_ids(struct publisher *publisher, const struct planned_port *planned,
			   struct change *change)
{
	int err = 0;

	if (!planned->backend_count)
		return 0;
	change->backends = calloc(planned->backend_count, sizeof(*change->backends));
	change->cluster = calloc(planned->backend_count, sizeof(*change->cluster));
	change->local = calloc(planned->backend_count, sizeof(*change->local));
	if (!change->backends || !change->cluster || !change->local)
		return -ENOMEM;
	for (size_t i = 0; i < planned->backend_count; i++) {
		const struct planned_backend *backend = &planned->backends[i];
		uint32_t id = backend_take(publisher, backend, planned->name.proto, &err);

		if (!id)
			return err;
		change->backends[change->count++] = (struct port_backend){
			.id = id,
			.membership = (backend->in_cluster ? MEMBER_CLUSTER : 0) |
				      (backend->in_local ? MEMBER_LOCAL : 0),
		};
	}
	return 0;
}

/* What is not by id any more: whether a backend terminates and where it is, in the plan's order. */
static void change_note_facts(struct publisher *publisher, const struct planned_port *planned,
			      const struct change *change)
{
	for (uint32_t i = 0; i < change->count; i++) {
		uint32_t id = change->backends[i].id;

		publisher->backend_records[id].terminating = planned->backends[i].terminating;
		publisher->backends[id].flags = planned->backends[i].is_local ? BACKEND_LOCAL : 0;
	}
}

static void change_sort(struct change *change)
{
	if (change->count)
		qsort(change->backends, change->count, sizeof(*change->backends), compare_ids);
	for (uint32_t i = 0; i < change->count; i++) {
		const struct port_backend *backend = &change->backends[i];

		if (backend->membership & MEMBER_CLUSTER)
			change->cluster[change->cluster_count++] = backend->id;
		if (backend->membership & MEMBER_LOCAL)
			change->local[change->local_count++] = backend->id;
	}
}

/* Writes the lists that differ from what is there. */
static int change_write_lists(struct publisher *publisher, const struct planned_port *planned,
			      const struct service *service, struct change *change)
{
	int err = 0;

	change->swings_cluster = !list_equals(publisher, service->cluster_slots, change->cluster,
					      change->cluster_count, planned->empty_cluster);
	change->swings_local = !list_equals(publisher, service->local_slots, change->local,
					    change->local_count, planned->empty_local);
	if (change->swings_cluster)
		err = list_write(publisher, change->cluster, change->cluster_count,
				 planned->empty_cluster, &change->cluster_range);
	if (!err && change->swings_local)
		err = list_write(publisher, change->local, change->local_count,
				 planned->empty_local, &change->local_range);
	if (err)
		list_retire(publisher, change->cluster_range);
	return err;
}

/* Backends of the change begin to count before anybody can see them in a list. */
static void change_count_new(struct publisher *publisher, const struct change *change,
			     uint32_t service_id)
{
	for (uint32_t i = 0; i < change->count; i++) {
		struct backend_record *record =
			&publisher->backend_records[change->backends[i].id];

		record->known++;
		record->members += change->backends[i].membership != 0;
		if (publisher->backends[change->backends[i].id].service != service_id &&
		    record->known == 1)
			publisher->backends[change->backends[i].id].service = service_id;
		backend_settle(publisher, change->backends[i].id);
	}
}

static void port_uncount_backends(struct publisher *publisher, const struct port_backend *backends,
				  uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct backend_record *record = &publisher->backend_records[backends[i].id];

		record->known--;
		record->members -= backends[i].membership != 0;
		backend_settle(publisher, backends[i].id);
	}
}

/*
 * The lists are complete: swing them. Where the policy changes, the list that it changes to comes first,
 * then the flag, then the list that nobody looks at any more.
 */
static void change_swing(struct publisher *publisher, const struct planned_port *planned,
			 struct service *service, const struct change *change)
{
	bool to_local = planned->flags & SERVICE_INTERNAL_LOCAL;

	service->affinity_timeout_s = planned->affinity_timeout_s;
	if (to_local && change->swings_local)
		list_swing(publisher, &service->local_slots, change->local_range);
	if (!to_local && change->swings_cluster)
		list_swing(publisher, &service->cluster_slots, change->cluster_range);
	__atomic_store_n(&service->flags, planned->flags | SERVICE_IN_USE, __ATOMIC_RELEASE);
	if (to_local && change->swings_cluster)
		list_swing(publisher, &service->cluster_slots, change->cluster_range);
	if (!to_local && change->swings_local)
		list_swing(publisher, &service->local_slots, change->local_range);
}

static bool change_is_nothing(const struct port_record *port, const struct planned_port *planned,
			      const struct service *service, const struct change *change)
{
	return port->is_claimed && !change->swings_cluster && !change->swings_local &&
	       service->flags == (planned->flags | SERVICE_IN_USE) &&
	       service->affinity_timeout_s == planned->affinity_timeout_s &&
	       port->backend_count == change->count &&
	       (!change->count || !memcmp(port->backends, change->backends,
					  change->count * sizeof(*change->backends)));
}

/* Makes the lists of a service port what the plan says. Nothing has changed where it fails. */
static int port_apply_lists(struct publisher *publisher, struct port_record *port,
			    const struct planned_port *planned, bool *ret_changed)
{
	struct service *service = &publisher->services[port->id];
	auto_cleanup(change_fini) struct change change = {};
	struct port_backend *before = port->backends;
	uint32_t before_count = port->backend_count;
	int err;

	err = change_take_ids(publisher, planned, &change);
	if (err) {
		change_drop_ids(publisher, &change);
		return err;
	}
	change_note_facts(publisher, planned, &change);
	change_sort(&change);
	err = change_write_lists(publisher, planned, service, &change);
	if (err) {
		change_drop_ids(publisher, &change);
		return err;
	}
	if (change_is_nothing(port, planned, service, &change))
		return 0;
	*ret_changed |= change.swings_cluster || change.swings_local ||
			service->flags != (planned->flags | SERVICE_IN_USE) ||
			service->affinity_timeout_s != planned->affinity_timeout_s;
	change_count_new(publisher, &change, port->id);
	change_swing(publisher, planned, service, &change);
	port->backends = take_ptr(change.backends);
	port->backend_count = change.count;
	port_uncount_backends(publisher, before, before_count);
	free(before);
	return 0;
}

static int map_write(int map, const void *key, const void *value)
{
	if (!bpf_map_update_elem(map, key, value, BPF_ANY))
		return 0;
	return errno == E2BIG ? -ENOSPC : -errno;
}

static int name_write(struct publisher *publisher, uint32_t id, const struct service_name *name)
{
	struct service_name before;

	if (!bpf_map_lookup_elem(publisher->maps.service_names, &id, &before) &&
	    !memcmp(&before, name, sizeof(before)))
		return 0;
	return map_write(publisher->maps.service_names, &id, name);
}

static void vip_release(struct publisher *publisher, uint32_t vip)
{
	struct address_record *record = &publisher->address_records[vip];

	record->vips--;
	record->was_vip = true;
	(void)address_settle(publisher, vip);
	if (!record->vips && !record->is_waiting) {
		record->is_waiting = true;
		retire_when_idle(publisher, RETIRED_ADDRESS_INDEX, vip);
	}
}

static bool frontend_equal(const struct port_record *port, const struct planned_frontend *planned)
{
	return port->vip && !memcmp(&port->frontend, &planned->frontend, sizeof(port->frontend));
}

/*
 * Makes the service port, which is complete, answer at its frontend; one at another address goes. A
 * ClusterIP does not change while a Service lives, but it may be deleted and made anew between two looks.
 */
static int frontend_apply(struct publisher *publisher, struct port_record *port,
			  const struct planned_frontend *planned, bool *ret_changed)
{
	const struct frontend_target target = {.service = port->id, .kind = (__u8)planned->kind};
	uint32_t vip, before_vip = port->vip;
	struct frontend before = port->frontend;
	int err = 0;

	if (frontend_equal(port, planned))
		return 0;
	vip = address_take(publisher, &planned->frontend.vip, &err);
	if (!vip)
		return err;
	publisher->address_records[vip].vips++;
	err = address_settle(publisher, vip);
	if (!err)
		err = map_write(publisher->maps.frontends, &planned->frontend, &target);
	if (err) {
		publisher->address_records[vip].vips--;
		(void)address_settle(publisher, vip);
		return err;
	}
	*ret_changed = true;
	port->frontend = planned->frontend;
	port->kind = planned->kind;
	port->vip = vip;
	publisher->numbers.frontends++;
	if (before_vip) {
		(void)bpf_map_delete_elem(publisher->maps.frontends, &before);
		vip_release(publisher, before_vip);
		publisher->numbers.frontends--;
	}
	return 0;
}

/* A frontend in the map may have been given to another service port since. */
static void frontend_remove(struct publisher *publisher, struct port_record *port)
{
	struct frontend_target target;

	if (!port->vip)
		return;
	if (!bpf_map_lookup_elem(publisher->maps.frontends, &port->frontend, &target) &&
	    target.service == port->id)
		(void)bpf_map_delete_elem(publisher->maps.frontends, &port->frontend);
	vip_release(publisher, port->vip);
	publisher->numbers.frontends--;
}

void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port)
{
	struct service *entry = &publisher->services[port->id];

	frontend_remove(publisher, port);
	list_swing(publisher, &entry->cluster_slots, (struct slot_range){});
	list_swing(publisher, &entry->local_slots, (struct slot_range){});
	__atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
	entry->affinity_timeout_s = 0;
	(void)bpf_map_delete_elem(publisher->maps.service_names, &port->id);
	port_uncount_backends(publisher, port->backends, port->backend_count);
	retire(publisher, RETIRED_SERVICE, port->id, 1);
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
	uint32_t id = id_pool_take(&publisher->service_ids);
	struct port_record *port;

	if (!id) {
		*ret_err = -ENOSPC;
		return NULL;
	}
	port = port_new(service, name, id);
	if (!port) {
		id_pool_give(&publisher->service_ids, id);
		*ret_err = -ENOMEM;
		return NULL;
	}
	publisher->services[id] = (struct service){};
	stats_clear(publisher, id);
	publisher->numbers.service_ports++;
	return port;
}

int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned)
{
	struct port_record *port = port_find(service, planned->name.port_name, planned->name.proto,
					     planned->name.family);
	bool is_new = !port, changed = false;
	int err = 0;

	if (is_new)
		port = port_make(publisher, service, &planned->name, &err);
	if (!port)
		return err;
	err = name_write(publisher, port->id, &planned->name);
	if (!err)
		err = port_apply_lists(publisher, port, planned, &changed);
	if (!err)
		err = frontend_apply(publisher, port, planned->frontends, &changed);
	port->is_claimed = true;
	if (err && is_new)
		port_retire(publisher, service, port);
	publisher->numbers.changed_service_ports += changed;
	return err;
}
