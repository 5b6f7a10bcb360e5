/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/frontend_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"
#include "fairlead/atomic.h"
#include "publish/mapped_array.h"

int frontend_set_init(struct frontend_set *set, const struct publisher_maps *maps,
		      struct address_set *addresses, struct service_set *services,
		      struct shortage *shortage)
{
	*set = (struct frontend_set){
		.map = maps->frontends,
		.addresses = addresses,
		.services = services,
		.shortage = shortage,
	};
	set->node_ports = mapped_array_of(maps->node_ports, 1, sizeof(struct node_ports));
	if (!set->node_ports)
		return -errno;
	set->max = map_max_entries(maps->frontends);
	return set->max ? 0 : -EBADF;
}

void frontend_set_fini(struct frontend_set *set)
{
	mapped_array_free(set->node_ports, 1, sizeof(struct node_ports));
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

	return set->count - set->displaced + to_come >= set->max &&
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
	if (!*ret_address || !address_set_can_count(set->addresses, *ret_address, planned->kind))
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

/* Writes the entry, unless another service port has precedence: then this one waits for it. */
static int entry_write(struct frontend_set *set, const struct planned_frontend *planned,
		       uint32_t service)
{
	const struct frontend_target target = {.service = service, .kind = (__u8)planned->kind};
	const struct frontend *frontend = &planned->frontend;
	struct frontend_target holder;
	char text[ADDRESS_TEXT_SIZE];

	if (!bpf_map_update_elem(set->map, frontend, &target, BPF_NOEXIST))
		return 0;
	if (errno == E2BIG)
		return shortage_record(set->shortage, FULL_FRONTENDS);
	if (errno != EEXIST)
		return -errno;
	if (bpf_map_lookup_elem(set->map, frontend, &holder))
		return -errno;
	if (frontend_rank(holder.kind) < frontend_rank(planned->kind)) {
		set->displaced++;
		log_debug("%s/%s stays with the service port that has it by its ClusterIP, or by "
			  "the better right of two",
			  endpoint_format(&frontend->vip, frontend->port, text),
			  proto_name(frontend->proto));
		return 0;
	}
	if (bpf_map_update_elem(set->map, frontend, &target, BPF_EXIST))
		return -errno;
	set->displaced++;
	log_debug("%s/%s moves from one service port to another",
		  endpoint_format(&frontend->vip, frontend->port, text),
		  proto_name(frontend->proto));
	return 0;
}

/*
 * Finds the service port, other than `port`, that gets the frontend: of those that want it, one
 * with the lowest rank. Searches all service ports, so call it only if some frontend is displaced.
 */
static const struct port_record *frontend_find_displaced(const struct frontend_set *set,
							 const struct frontend *frontend,
							 const struct port_record *port,
							 enum frontend_kind *ret_kind)
{
	const struct service_record *service;
	const struct port_record *other, *best = NULL;
	const struct port_frontend *wanted;
	uint32_t position = 0;

	while ((service = lookup_next(&set->services->by_name, &position))) {
		for (other = service->ports; other; other = other->next) {
			wanted = other == port ? NULL : frontend_find(other, frontend);
			if (!wanted ||
			    (best && frontend_rank(*ret_kind) <= frontend_rank(wanted->kind)))
				continue;
			best = other;
			*ret_kind = wanted->kind;
		}
	}
	return best;
}

/* Hands the port's entry on to a displaced service port, or deletes it. */
static void entry_hand_on(struct frontend_set *set, const struct frontend *frontend,
			  const struct port_record *port)
{
	enum frontend_kind kind = FRONTEND_NODE_PORT;
	const struct port_record *next = NULL;
	struct frontend_target target = {};

	if (set->displaced)
		next = frontend_find_displaced(set, frontend, port, &kind);
	if (!next) {
		(void)bpf_map_delete_elem(set->map, frontend);
		shortage_record_freed(set->shortage, FULL_FRONTENDS);
		return;
	}
	target.service = next->id;
	target.kind = (__u8)kind;
	if (bpf_map_update_elem(set->map, frontend, &target, BPF_EXIST))
		(void)log_err(-errno, "cannot give a frontend back, continuing");
	set->displaced--;
}

/* Gives the port's entry up; or its claim to it, if another service port holds it. */
static void entry_leave(struct frontend_set *set, const struct frontend *frontend,
			const struct port_record *port)
{
	struct frontend_target target;

	set->count--;
	if (bpf_map_lookup_elem(set->map, frontend, &target))
		return;
	if (target.service == port->id)
		entry_hand_on(set, frontend, port);
	else
		set->displaced--;
}

/* Counts a frontend at the address, and undoes that on error; 0 is a loopback address. */
static int address_gain(struct address_set *addresses, uint32_t address, enum frontend_kind kind)
{
	int err;

	if (!address)
		return 0;
	address_set_count_frontend(addresses, address, kind, 1);
	err = address_set_sync(addresses, address);
	if (err)
		address_set_count_frontend(addresses, address, kind, -1);
	return err;
}

static void address_lose(struct address_set *addresses, uint32_t address, enum frontend_kind kind)
{
	if (!address)
		return;
	address_set_count_frontend(addresses, address, kind, -1);
	(void)address_set_sync(addresses, address);
}

static int frontend_add(struct frontend_set *set, struct port_record *port,
			const struct planned_frontend *planned, uint32_t address)
{
	const struct port_frontend frontend = {
		.frontend = planned->frontend,
		.kind = planned->kind,
		.address = address,
	};
	uint32_t at;
	int err;

	err = address_gain(set->addresses, address, planned->kind);
	if (err)
		return err;
	err = entry_write(set, planned, port->id);
	if (err) {
		address_lose(set->addresses, address, planned->kind);
		return err;
	}
	/* Inserts in order; frontend_set_prepare has made the room. */
	for (at = port->frontend_count++;
	     at && frontend_compare(&port->frontends[at - 1], &frontend) > 0; at--)
		port->frontends[at] = port->frontends[at - 1];
	port->frontends[at] = frontend;
	set->count++;
	set->has_new_udp |= planned->frontend.proto == IPPROTO_UDP;
	return 0;
}

/*
 * Changes the kind at the same address and port: say, an external IP becomes the load balancer's.
 */
static int frontend_change(struct frontend_set *set, const struct port_record *port,
			   struct port_frontend *frontend, const struct planned_frontend *planned)
{
	const struct frontend_target target = {.service = port->id, .kind = (__u8)planned->kind};
	struct frontend_target holder;
	int err;

	err = address_gain(set->addresses, frontend->address, planned->kind);
	if (err)
		return err;
	if (!bpf_map_lookup_elem(set->map, &frontend->frontend, &holder) &&
	    holder.service == port->id &&
	    bpf_map_update_elem(set->map, &frontend->frontend, &target, BPF_EXIST)) {
		err = -errno;
		address_lose(set->addresses, frontend->address, planned->kind);
		return err;
	}
	address_lose(set->addresses, frontend->address, frontend->kind);
	frontend->kind = planned->kind;
	return 0;
}

static void frontend_remove(struct frontend_set *set, struct port_record *port, uint32_t at)
{
	const struct port_frontend frontend = port->frontends[at];

	entry_leave(set, &frontend.frontend, port);
	if (frontend.address &&
	    address_set_retire_frontend(set->addresses, frontend.address, frontend.kind))
		service_set_hold_id(set->services, port->id, frontend.address);
	port->frontend_count--;
	memmove(&port->frontends[at], &port->frontends[at + 1],
		(port->frontend_count - at) * sizeof(frontend));
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
