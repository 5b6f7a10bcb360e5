/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/frontend_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/lookup.h"
#include "base/mapped_array.h"
#include "fairlead/atomic.h"

int frontend_set_init(struct frontend_set *set, const struct publisher_maps *maps,
		      struct address_set *addresses, struct service_set *services,
		      struct shortage *shortage)
{
	*set = (struct frontend_set){
		.map = maps->frontends,
		.max = maps->frontends_max,
		.addresses = addresses,
		.services = services,
		.shortage = shortage,
	};
	set->node_ports = mapped_array_of(maps->node_ports, 1, sizeof(struct node_ports));
	return set->node_ports ? 0 : -errno;
}

void frontend_set_fini(struct frontend_set *set)
{
	mapped_array_free(set->node_ports, 1, sizeof(struct node_ports));
	free(set->displaced.items);
	id_index_fini(&set->displaced.by_frontend);
}

/* Only socket hooks look up a loopback address; packets never carry one, so it is no VIP. */
static bool has_address(const struct frontend *frontend)
{
	return !address_is_loopback(&frontend->vip);
}

static int frontend_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct frontend));
}

static struct port_frontend *frontend_find(const struct port_record *port,
					   const struct frontend *frontend)
{
	_Static_assert(!offsetof(struct port_frontend, frontend), "it is compared by its key");
	if (!port->frontend_count)
		return NULL;
	return bsearch(frontend, port->frontends, port->frontend_count, sizeof(*port->frontends),
		       frontend_compare);
}

static bool is_planned(const struct planned_port *planned, const struct frontend *frontend)
{
	_Static_assert(!offsetof(struct planned_frontend, frontend), "it is compared by its key");
	return planned->frontend_count &&
	       bsearch(frontend, planned->frontends, planned->frontend_count,
		       sizeof(*planned->frontends), frontend_compare);
}

/* True if the frontend needs a new entry and the map has no room for one. */
static bool frontends_are_full(const struct frontend_set *set, const struct frontend *frontend,
			       uint32_t to_come)
{
	struct frontend_target target;

	return set->count - set->displaced.count + to_come >= set->max &&
	       bpf_map_lookup_elem(set->map, frontend, &target);
}

/* Checks that there is room, takes the address and stores its index in `ret_address`. */
static int frontend_prepare(struct frontend_set *set, const struct planned_frontend *planned,
			    uint32_t to_come, uint32_t *ret_address)
{
	if (frontends_are_full(set, &planned->frontend, to_come))
		return shortage_record(set->shortage, FULL_FRONTENDS);
	if (!has_address(&planned->frontend))
		return 0;
	*ret_address = address_set_get_or_add(set->addresses, &planned->frontend.vip);
	return *ret_address ? 0 : -ENOSPC;
}

static uint32_t frontend_hash(const struct frontend *frontend)
{
	return lookup_hash(frontend, sizeof(*frontend));
}

/* Makes room for so many more. */
static int displaced_reserve(struct displaced_frontends *displaced, uint32_t to_come)
{
	uint32_t room = displaced->room ? displaced->room : 16;
	struct id_index index;
	void *items;

	while (room <= displaced->count + to_come)
		room *= 2;
	if (room == displaced->room)
		return 0;
	items = realloc(displaced->items, room * sizeof(*displaced->items));
	if (!items)
		return -ENOMEM;
	displaced->items = items;
	if (id_index_init(&index, room))
		return -ENOMEM;
	for (uint32_t id = 1; id <= displaced->count; id++)
		id_index_add(&index, frontend_hash(&displaced->items[id].frontend), id);
	id_index_fini(&displaced->by_frontend);
	displaced->by_frontend = index;
	displaced->room = room;
	return 0;
}

int frontend_set_prepare(struct frontend_set *set, struct port_record *port,
			 const struct planned_port *planned, uint32_t *ret_addresses)
{
	uint32_t to_come = 0;
	void *room;
	int err;

	for (size_t i = 0; i < planned->frontend_count; i++) {
		if (frontend_find(port, &planned->frontends[i].frontend))
			continue;
		err = frontend_prepare(set, &planned->frontends[i], to_come, &ret_addresses[i]);
		if (err)
			return err;
		to_come++;
	}
	if (!to_come)
		return 0;
	room = realloc(port->frontends,
		       (port->frontend_count + to_come) * sizeof(*port->frontends));
	if (!room)
		return -ENOMEM;
	port->frontends = room;
	/* Each of them may be displaced or displace another. */
	return displaced_reserve(&set->displaced, to_come);
}

void frontend_set_undo(struct frontend_set *set, const struct planned_port *planned,
		       const uint32_t *addresses)
{
	for (size_t i = 0; i < planned->frontend_count; i++) {
		const struct ip_addr *vip = &planned->frontends[i].frontend.vip;

		/* It may have been dropped already, with another port of that address. */
		if (addresses[i] && address_set_find(set->addresses, vip) == addresses[i])
			address_set_drop_unused(set->addresses, addresses[i]);
	}
}

/*
 * True if `port`, of the kind at this frontend, gets what `holder` has. `newcomer` is the port that
 * is being added, if any: of two ports of one Service, the old one is about to go.
 */
static bool has_precedence(const struct port_record *port, enum frontend_kind kind,
			   const struct port_record *holder, enum frontend_kind holder_kind,
			   const struct port_record *newcomer)
{
	const struct service_record *service = port->service, *other = holder->service;

	if (frontend_rank(kind) != frontend_rank(holder_kind))
		return frontend_rank(kind) < frontend_rank(holder_kind);
	if (service == other)
		return port == newcomer;
	/* It was adopted, and how old it is will be known with its plan. */
	if (!other->is_claimed)
		return false;
	if (service->created_s != other->created_s)
		return service->created_s < other->created_s;
	return strcmp(service->name, other->name) < 0;
}

/* The first id, or the next one, of those that are displaced at the frontend; 0: no more. */
static uint32_t displaced_at(const struct displaced_frontends *displaced, uint32_t id,
			     const struct frontend *frontend)
{
	while (id && frontend_compare(&displaced->items[id].frontend, frontend) != 0)
		id = id_index_next(&displaced->by_frontend, id);
	return id;
}

static uint32_t displaced_first(const struct displaced_frontends *displaced,
				const struct frontend *frontend)
{
	if (!displaced->count)
		return 0;
	return displaced_at(displaced,
			    id_index_first(&displaced->by_frontend, frontend_hash(frontend)),
			    frontend);
}

static uint32_t displaced_next(const struct displaced_frontends *displaced, uint32_t id)
{
	return displaced_at(displaced, id_index_next(&displaced->by_frontend, id),
			    &displaced->items[id].frontend);
}

/* The displaced service port that has precedence for the frontend over all others; 0: none. */
static uint32_t displaced_find_best(const struct frontend_set *set, const struct frontend *frontend)
{
	const struct displaced_frontends *displaced = &set->displaced;
	uint32_t best = displaced_first(displaced, frontend), id;

	for (id = best; id; id = displaced_next(displaced, id)) {
		const struct port_record *port = displaced->items[id].port;
		const struct port_record *best_port = displaced->items[best].port;

		if (id != best &&
		    has_precedence(port, frontend_find(port, frontend)->kind, best_port,
				   frontend_find(best_port, frontend)->kind, NULL))
			best = id;
	}
	return best;
}

/* The id of what the service port wants and does not hold. */
static uint32_t displaced_of_port(const struct frontend_set *set, const struct frontend *frontend,
				  const struct port_record *port)
{
	uint32_t id = displaced_first(&set->displaced, frontend);

	while (id && set->displaced.items[id].port != port)
		id = displaced_next(&set->displaced, id);
	return id;
}

static uint32_t displaced_add(struct frontend_set *set, const struct frontend *frontend,
			      struct port_record *port)
{
	struct displaced_frontends *displaced = &set->displaced;
	uint32_t id = ++displaced->count;

	frontend_find(port, frontend)->is_displaced = true;
	/* frontend_set_prepare has made the room. */
	displaced->items[id] = (struct displaced_frontend){*frontend, port};
	id_index_add(&displaced->by_frontend, frontend_hash(frontend), id);
	set->displaced_changed = true;
	return id;
}

/* The last one gets the id. */
static void displaced_remove(struct frontend_set *set, uint32_t id)
{
	struct displaced_frontends *displaced = &set->displaced;
	const struct displaced_frontend *gone = &displaced->items[id];
	uint32_t last = displaced->count--;

	frontend_find(gone->port, &gone->frontend)->is_displaced = false;
	id_index_remove(&displaced->by_frontend, frontend_hash(&gone->frontend), id);
	if (id != last) {
		uint32_t hash = frontend_hash(&displaced->items[last].frontend);

		id_index_remove(&displaced->by_frontend, hash, last);
		displaced->items[id] = displaced->items[last];
		id_index_add(&displaced->by_frontend, hash, id);
	}
	set->displaced_changed = true;
}

static int entry_write(const struct frontend_set *set, const struct frontend *frontend,
		       const struct port_record *port, __u64 flags)
{
	const struct frontend_target target = {
		.service = port->id,
		.kind = frontend_find(port, frontend)->kind,
	};

	return bpf_map_update_elem(set->map, frontend, &target, flags) ? -errno : 0;
}

/*
 * Hands the frontend to the displaced service port of that id if it has precedence over the one
 * that holds it; 0 is none.
 */
static void frontend_contend(struct frontend_set *set, uint32_t id,
			     const struct port_record *newcomer)
{
	const struct displaced_frontend displaced =
		id ? set->displaced.items[id] : (struct displaced_frontend){};
	struct frontend_target target;
	struct port_record *holder;
	int err;

	if (!id || bpf_map_lookup_elem(set->map, &displaced.frontend, &target))
		return;
	holder = service_set_port_of(set->services, target.service);
	if (!holder || !has_precedence(displaced.port,
				       frontend_find(displaced.port, &displaced.frontend)->kind,
				       holder, target.kind, newcomer))
		return;
	err = entry_write(set, &displaced.frontend, displaced.port, BPF_EXIST);
	if (err) {
		(void)log_err(err, "cannot move a frontend to another service, continuing");
		return;
	}
	displaced_remove(set, id);
	(void)displaced_add(set, &displaced.frontend, holder);
}

void frontend_set_contend(struct frontend_set *set, const struct port_record *port)
{
	for (uint32_t i = 0; set->displaced.count && i < port->frontend_count; i++)
		frontend_contend(set, displaced_find_best(set, &port->frontends[i].frontend), NULL);
}

/* Gives the port's entry up: to a displaced service port, if there is one. */
static void entry_leave(struct frontend_set *set, const struct frontend *frontend)
{
	uint32_t next = displaced_find_best(set, frontend);
	int err;

	if (!next) {
		(void)bpf_map_delete_elem(set->map, frontend);
		shortage_record_freed(set->shortage, FULL_FRONTENDS);
		return;
	}
	err = entry_write(set, frontend, set->displaced.items[next].port, BPF_ANY);
	if (err)
		(void)log_err(err, "cannot give a frontend back, continuing");
	displaced_remove(set, next);
}

/*
 * Inserts the planned frontends that the port does not have, as not there yet. Both lists ascend,
 * so one pass from their ends is enough; frontend_set_prepare has made the room.
 */
static void frontends_insert(struct port_record *port, const struct planned_port *planned,
			     const uint32_t *addresses)
{
	uint32_t old = port->frontend_count, at = old;

	for (size_t i = 0; i < planned->frontend_count; i++)
		at += !frontend_find(port, &planned->frontends[i].frontend);
	port->frontend_count = at;
	for (size_t i = planned->frontend_count; i && at > old; i--) {
		const struct frontend *frontend = &planned->frontends[i - 1].frontend;
		int order = 1;

		while (old) {
			order = frontend_compare(frontend, &port->frontends[old - 1]);
			if (order > 0)
				break;
			port->frontends[--at] = port->frontends[--old];
			if (!order)
				break;
		}
		if (order)
			port->frontends[--at] = (struct port_frontend){.frontend = *frontend,
								       .address = addresses[i - 1]};
	}
}

/* Takes out those that are not there. */
static void frontends_compact(struct port_record *port)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < port->frontend_count; i++) {
		if (port->frontends[i].kind)
			port->frontends[kept++] = port->frontends[i];
	}
	port->frontend_count = kept;
}

/* Another service port may hold the entry: then the one with precedence gets it. */
static int frontend_add(struct frontend_set *set, struct port_record *port,
			struct port_frontend *frontend, enum frontend_kind kind)
{
	int err = address_set_gain_frontend(set->addresses, frontend->address, kind);

	if (err)
		return err;
	frontend->kind = kind;
	err = entry_write(set, &frontend->frontend, port, BPF_NOEXIST);
	if (err && err != -EEXIST) {
		frontend->kind = 0;
		address_set_lose_frontend(set->addresses, frontend->address, kind);
		return err == -E2BIG ? shortage_record(set->shortage, FULL_FRONTENDS) : err;
	}
	set->count++;
	set->has_new_udp |= frontend->frontend.proto == IPPROTO_UDP;
	if (err)
		frontend_contend(set, displaced_add(set, &frontend->frontend, port), port);
	return 0;
}

/*
 * Changes the kind at the same address and port: say, an external IP becomes the load balancer's.
 */
static int frontend_change(struct frontend_set *set, const struct port_record *port,
			   struct port_frontend *frontend, const struct planned_frontend *planned)
{
	const enum frontend_kind before = frontend->kind;
	int err;

	err = address_set_gain_frontend(set->addresses, frontend->address, planned->kind);
	if (err)
		return err;
	frontend->kind = planned->kind;
	if (!frontend->is_displaced)
		err = entry_write(set, &frontend->frontend, port, BPF_ANY);
	if (err)
		frontend->kind = before;
	address_set_lose_frontend(set->addresses, frontend->address, err ? planned->kind : before);
	if (!err)
		frontend_contend(set, displaced_find_best(set, &planned->frontend), NULL);
	return err;
}

/* Its place in the port's list stays until frontends_compact. */
static void frontend_remove(struct frontend_set *set, const struct port_record *port,
			    struct port_frontend *frontend)
{
	set->count--;
	if (frontend->is_displaced)
		displaced_remove(set, displaced_of_port(set, &frontend->frontend, port));
	else
		entry_leave(set, &frontend->frontend);
	if (frontend->address) {
		address_set_retire_frontend(set->addresses, frontend->address, frontend->kind);
		service_set_hold_id(set->services, port->id, frontend->address);
	}
	frontend->kind = 0;
}

/*
 * For a frontend at an address of the node: marks its port before the first packet finds the
 * frontend, so that programs remember other traffic that leaves from it. Repeated with each plan,
 * because the address may have come to the node since.
 */
static void node_port_mark(const struct frontend_set *set, const struct frontend *frontend,
			   uint32_t address)
{
	uint8_t *port;

	if (!address || !set->addresses->records[address].is_node)
		return;
	port = &set->node_ports[ntohs(frontend->port)];
	if (!*port)
		STORE_RELAXED(*port, 1);
}

/* Makes the port answer at the planned frontends; all of them have a place in its list. */
static int frontends_add(struct frontend_set *set, struct port_record *port,
			 const struct planned_port *planned, bool *ret_changed)
{
	for (size_t i = 0; i < planned->frontend_count; i++) {
		const struct planned_frontend *wanted = &planned->frontends[i];
		struct port_frontend *frontend = frontend_find(port, &wanted->frontend);
		int err;

		node_port_mark(set, &wanted->frontend, frontend->address);
		if (frontend->kind == (uint32_t)wanted->kind)
			continue;
		err = frontend->kind ? frontend_change(set, port, frontend, wanted)
				     : frontend_add(set, port, frontend, wanted->kind);
		if (err)
			return err;
		*ret_changed = true;
	}
	return 0;
}

int frontend_set_apply(struct frontend_set *set, struct port_record *port,
		       const struct planned_port *planned, const uint32_t *addresses,
		       bool *ret_changed)
{
	int err;

	frontends_insert(port, planned, addresses);
	err = frontends_add(set, port, planned, ret_changed);
	for (uint32_t i = 0; !err && i < port->frontend_count; i++) {
		if (is_planned(planned, &port->frontends[i].frontend))
			continue;
		frontend_remove(set, port, &port->frontends[i]);
		*ret_changed = true;
	}
	frontends_compact(port);
	return err;
}

void frontend_set_remove_all(struct frontend_set *set, struct port_record *port)
{
	for (uint32_t i = 0; i < port->frontend_count; i++)
		frontend_remove(set, port, &port->frontends[i]);
	port->frontend_count = 0;
}

int frontend_set_adopt(struct frontend_set *set, struct port_record *port,
		       const struct frontend *frontend, const struct frontend_target *target)
{
	struct port_frontend *room, adopted = {.frontend = *frontend, .kind = target->kind};

	if (target->kind < FRONTEND_CLUSTER_IP || target->kind > FRONTEND_LOAD_BALANCER_IP)
		return -EINVAL;
	if (has_address(frontend)) {
		adopted.address = address_set_get_or_add(set->addresses, &frontend->vip);
		if (!adopted.address)
			return -EINVAL;
	}
	/* Room is always a power of two: a count that is a power of two, or 0, has used it up. */
	if (!(port->frontend_count & (port->frontend_count - 1))) {
		room = realloc(port->frontends,
			       (size_t)(port->frontend_count ? port->frontend_count * 2 : 1) *
				       sizeof(*room));
		if (!room)
			return -ENOMEM;
		port->frontends = room;
	}
	port->frontends[port->frontend_count++] = adopted;
	if (adopted.address)
		address_set_count_frontend(set->addresses, adopted.address, target->kind, 1);
	set->count++;
	return 0;
}

void frontends_sort(struct port_record *port)
{
	if (port->frontend_count)
		qsort(port->frontends, port->frontend_count, sizeof(*port->frontends),
		      frontend_compare);
}
