/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/frontend_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
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
	free(set->displaced);
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

	return set->count - set->displaced_count + to_come >= set->max &&
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
	if (!*ret_address)
		return -ENOSPC;
	if (!address_set_can_count(set->addresses, *ret_address, planned->kind))
		return shortage_record(set->shortage, FULL_ADDRESSES);
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
	room = realloc(set->displaced, (set->displaced_count + to_come) * sizeof(*set->displaced));
	if (!room)
		return -ENOMEM;
	set->displaced = room;
	return 0;
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

/* The displaced service port that has precedence for the frontend over all others, or NULL. */
static struct displaced_frontend *displaced_find_best(const struct frontend_set *set,
						      const struct frontend *frontend,
						      const struct port_record *newcomer)
{
	const struct port_frontend *wanted, *best_wanted = NULL;
	struct displaced_frontend *best = NULL;

	for (uint32_t i = 0; i < set->displaced_count; i++) {
		struct displaced_frontend *displaced = &set->displaced[i];

		if (frontend_compare(&displaced->frontend, frontend) != 0)
			continue;
		wanted = frontend_find(displaced->port, frontend);
		if (best && !has_precedence(displaced->port, wanted->kind, best->port,
					    best_wanted->kind, newcomer))
			continue;
		best = displaced;
		best_wanted = wanted;
	}
	return best;
}

static void displaced_add(struct frontend_set *set, const struct frontend *frontend,
			  struct port_record *port)
{
	frontend_find(port, frontend)->is_displaced = true;
	/* frontend_set_prepare has made the room. */
	set->displaced[set->displaced_count++] = (struct displaced_frontend){*frontend, port};
	set->displaced_changed = true;
}

static void displaced_remove(struct frontend_set *set, struct displaced_frontend *displaced)
{
	frontend_find(displaced->port, &displaced->frontend)->is_displaced = false;
	*displaced = set->displaced[--set->displaced_count];
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

/* Hands the frontend to a displaced service port that has precedence over the one that holds it. */
static void frontend_contend(struct frontend_set *set, const struct frontend *frontend,
			     const struct port_record *newcomer)
{
	struct displaced_frontend *best = displaced_find_best(set, frontend, newcomer);
	struct frontend_target target;
	struct port_record *holder;
	int err;

	if (!best || bpf_map_lookup_elem(set->map, frontend, &target))
		return;
	holder = service_set_port_of(set->services, target.service);
	if (!holder || !has_precedence(best->port, frontend_find(best->port, frontend)->kind,
				       holder, target.kind, newcomer))
		return;
	err = entry_write(set, frontend, best->port, BPF_EXIST);
	if (err) {
		(void)log_err(err, "cannot move a frontend to another service, continuing");
		return;
	}
	displaced_remove(set, best);
	displaced_add(set, frontend, holder);
}

void frontend_set_contend(struct frontend_set *set, const struct port_record *port)
{
	for (uint32_t i = 0; set->displaced_count && i < port->frontend_count; i++)
		frontend_contend(set, &port->frontends[i].frontend, NULL);
}

/* Gives the port's entry up: to a displaced service port, if there is one. */
static void entry_leave(struct frontend_set *set, const struct frontend *frontend)
{
	struct displaced_frontend *next = displaced_find_best(set, frontend, NULL);
	int err;

	if (!next) {
		(void)bpf_map_delete_elem(set->map, frontend);
		shortage_record_freed(set->shortage, FULL_FRONTENDS);
		return;
	}
	err = entry_write(set, frontend, next->port, BPF_ANY);
	if (err)
		(void)log_err(err, "cannot give a frontend back, continuing");
	displaced_remove(set, next);
}

/* Gives up the port's claim to an entry that another one holds. */
static void claim_leave(struct frontend_set *set, const struct frontend *frontend,
			const struct port_record *port)
{
	for (uint32_t i = 0; i < set->displaced_count; i++) {
		struct displaced_frontend *displaced = &set->displaced[i];

		if (displaced->port == port && !frontend_compare(&displaced->frontend, frontend)) {
			displaced_remove(set, displaced);
			return;
		}
	}
}

/* Inserts in order; frontend_set_prepare has made the room. */
static void port_insert(struct port_record *port, const struct port_frontend *frontend)
{
	uint32_t at = port->frontend_count++;

	for (; at && frontend_compare(&port->frontends[at - 1], frontend) > 0; at--)
		port->frontends[at] = port->frontends[at - 1];
	port->frontends[at] = *frontend;
}

static void port_take_out(struct port_record *port, uint32_t at)
{
	port->frontend_count--;
	memmove(&port->frontends[at], &port->frontends[at + 1],
		(port->frontend_count - at) * sizeof(*port->frontends));
}

/* Another service port may hold the entry: then the one with precedence gets it. */
static int frontend_add(struct frontend_set *set, struct port_record *port,
			const struct planned_frontend *planned, uint32_t address)
{
	const struct port_frontend frontend = {
		.frontend = planned->frontend,
		.kind = planned->kind,
		.address = address,
	};
	int err;

	err = address_set_gain_frontend(set->addresses, address, planned->kind);
	if (err)
		return err;
	port_insert(port, &frontend);
	err = entry_write(set, &planned->frontend, port, BPF_NOEXIST);
	if (err && err != -EEXIST) {
		port_take_out(port, (uint32_t)(frontend_find(port, &planned->frontend) -
					       port->frontends));
		address_set_lose_frontend(set->addresses, address, planned->kind);
		return err == -E2BIG ? shortage_record(set->shortage, FULL_FRONTENDS) : err;
	}
	set->count++;
	set->has_new_udp |= planned->frontend.proto == IPPROTO_UDP;
	if (!err)
		return 0;
	displaced_add(set, &planned->frontend, port);
	frontend_contend(set, &planned->frontend, port);
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
		frontend_contend(set, &planned->frontend, NULL);
	return err;
}

static void frontend_remove(struct frontend_set *set, struct port_record *port, uint32_t at)
{
	const struct port_frontend frontend = port->frontends[at];

	set->count--;
	if (frontend.is_displaced)
		claim_leave(set, &frontend.frontend, port);
	else
		entry_leave(set, &frontend.frontend);
	if (frontend.address &&
	    address_set_retire_frontend(set->addresses, frontend.address, frontend.kind))
		service_set_hold_id(set->services, port->id, frontend.address);
	port_take_out(port, at);
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

int frontend_set_apply(struct frontend_set *set, struct port_record *port,
		       const struct planned_port *planned, const uint32_t *addresses,
		       bool *ret_changed)
{
	int err;

	for (size_t i = 0; i < planned->frontend_count; i++) {
		const struct planned_frontend *wanted = &planned->frontends[i];
		struct port_frontend *frontend = frontend_find(port, &wanted->frontend);

		node_port_mark(set, &wanted->frontend, frontend ? frontend->address : addresses[i]);
		if (frontend && frontend->kind == (uint32_t)wanted->kind)
			continue;
		err = frontend ? frontend_change(set, port, frontend, wanted)
			       : frontend_add(set, port, wanted, addresses[i]);
		if (err)
			return err;
		*ret_changed = true;
	}
	for (uint32_t i = port->frontend_count; i; i--) {
		if (is_planned(planned, &port->frontends[i - 1].frontend))
			continue;
		frontend_remove(set, port, i - 1);
		*ret_changed = true;
	}
	return 0;
}

void frontend_set_remove_all(struct frontend_set *set, struct port_record *port)
{
	while (port->frontend_count)
		frontend_remove(set, port, port->frontend_count - 1);
}

int frontend_set_adopt(struct frontend_set *set, struct port_record *port,
		       const struct frontend *frontend, const struct frontend_target *target)
{
	struct port_frontend *room, adopted = {.frontend = *frontend, .kind = target->kind};

	if (target->kind < FRONTEND_CLUSTER_IP || target->kind > FRONTEND_LOAD_BALANCER_IP)
		return -EINVAL;
	if (has_address(frontend)) {
		adopted.address = address_set_get_or_add(set->addresses, &frontend->vip);
		if (!adopted.address ||
		    !address_set_can_count(set->addresses, adopted.address, target->kind))
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
