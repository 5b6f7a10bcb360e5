/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Frontends: the service port that answers at an address and port. Two service ports may want the
 * same one: while one Service replaces another, while a port is renamed, or when a manifest was
 * copied. The kind with the lower rank wins, and among equals the last to come; the loser is
 * displaced and gets the frontend back when the winner goes.
 */

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "fairlead/atomic.h"
#include "base/log.h"
#include "publish/publisher_parts.h"

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
static bool frontends_are_full(const struct publisher *publisher, const struct frontend *frontend,
			       uint32_t to_come)
{
	struct frontend_target target;

	return publisher->numbers.frontends - publisher->displaced + to_come >=
		       publisher->frontends_max &&
	       bpf_map_lookup_elem(publisher->maps.frontends, frontend, &target);
}

/* Checks that there is room, takes the address and stores its index in `ret_address`. */
static int frontend_prepare(struct publisher *publisher, const struct planned_frontend *planned,
			    uint32_t to_come, uint32_t *ret_address)
{
	if (frontends_are_full(publisher, &planned->frontend, to_come))
		return publisher_is_full(publisher, FULL_FRONTENDS);
	if (!has_address(&planned->frontend))
		return 0;
	*ret_address = address_take(publisher, &planned->frontend.vip);
	if (!*ret_address || !address_can_count(publisher, *ret_address, planned->kind))
		return publisher_is_full(publisher, FULL_ADDRESSES);
	return 0;
}

int frontends_prepare(struct publisher *publisher, struct port_record *port,
		      const struct planned_port *planned, uint32_t *ret_addresses)
{
	uint32_t to_come = 0;
	void *room;
	int err;

	for (size_t i = 0; i < planned->frontend_count; i++) {
		if (frontend_find(port, &planned->frontends[i].frontend))
			continue;
		err = frontend_prepare(publisher, &planned->frontends[i], to_come,
				       &ret_addresses[i]);
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

void frontends_undo(struct publisher *publisher, const struct planned_port *planned,
		    const uint32_t *addresses)
{
	for (size_t i = 0; i < planned->frontend_count; i++) {
		const struct ip_addr *vip = &planned->frontends[i].frontend.vip;

		/* It may have been dropped already, with another port of that address. */
		if (addresses[i] && address_find(publisher, vip) == addresses[i])
			address_drop_unused(publisher, addresses[i]);
	}
}

/* Writes the entry, unless another service port has precedence: then this one waits for it. */
static int entry_write(struct publisher *publisher, const struct planned_frontend *planned,
		       uint32_t service)
{
	const struct frontend_target target = {.service = service, .kind = (__u8)planned->kind};
	const struct frontend *frontend = &planned->frontend;
	const int map = publisher->maps.frontends;
	struct frontend_target holder;
	char text[ADDRESS_TEXT_SIZE];

	if (!bpf_map_update_elem(map, frontend, &target, BPF_NOEXIST))
		return 0;
	if (errno == E2BIG)
		return publisher_is_full(publisher, FULL_FRONTENDS);
	if (errno != EEXIST)
		return -errno;
	if (bpf_map_lookup_elem(map, frontend, &holder))
		return -errno;
	if (frontend_rank(holder.kind) < frontend_rank(planned->kind)) {
		publisher->displaced++;
		log_debug("%s/%s stays with the service port that has it by its ClusterIP, or by "
			  "the better right of two",
			  endpoint_format(&frontend->vip, frontend->port, text),
			  proto_name(frontend->proto));
		return 0;
	}
	if (bpf_map_update_elem(map, frontend, &target, BPF_EXIST))
		return -errno;
	publisher->displaced++;
	log_debug("%s/%s moves from one service port to another",
		  endpoint_format(&frontend->vip, frontend->port, text),
		  proto_name(frontend->proto));
	return 0;
}

/*
 * Finds the service port, other than `port`, that gets the frontend: of those that want it, one
 * with the lowest rank. Looks at all service ports, so call it only if some frontend is displaced.
 */
static const struct port_record *frontend_find_displaced(const struct publisher *publisher,
							 const struct frontend *frontend,
							 const struct port_record *port,
							 enum frontend_kind *ret_kind)
{
	const struct service_record *service;
	const struct port_record *other, *best = NULL;
	const struct port_frontend *wanted;
	uint32_t position = 0;

	while ((service = lookup_next(&publisher->by_name, &position))) {
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
static void entry_hand_on(struct publisher *publisher, const struct frontend *frontend,
			  const struct port_record *port)
{
	enum frontend_kind kind = FRONTEND_NODE_PORT;
	const struct port_record *next = NULL;
	struct frontend_target target = {};

	if (publisher->displaced)
		next = frontend_find_displaced(publisher, frontend, port, &kind);
	if (!next) {
		(void)bpf_map_delete_elem(publisher->maps.frontends, frontend);
		publisher->has_room |= (publisher->wanted & 1U << FULL_FRONTENDS) != 0;
		return;
	}
	target.service = next->id;
	target.kind = (__u8)kind;
	if (bpf_map_update_elem(publisher->maps.frontends, frontend, &target, BPF_EXIST))
		(void)log_err(-errno, "cannot give a frontend back, continuing");
	publisher->displaced--;
}

static void entry_leave(struct publisher *publisher, const struct frontend *frontend,
			const struct port_record *port)
{
	struct frontend_target target;

	publisher->numbers.frontends--;
	if (bpf_map_lookup_elem(publisher->maps.frontends, frontend, &target))
		return;
	if (target.service == port->id)
		entry_hand_on(publisher, frontend, port);
	else
		publisher->displaced--;
}

static int address_gain(struct publisher *publisher, uint32_t address, enum frontend_kind kind)
{
	int err;

	if (!address)
		return 0;
	address_count_frontend(publisher, address, kind, 1);
	err = address_settle(publisher, address);
	if (err)
		address_count_frontend(publisher, address, kind, -1);
	return err;
}

/* Inserts in order; frontends_prepare has made the room. */
static void frontend_insert(struct port_record *port, const struct port_frontend *frontend)
{
	uint32_t at = port->frontend_count++;

	while (at && frontend_compare(&port->frontends[at - 1], frontend) > 0) {
		port->frontends[at] = port->frontends[at - 1];
		at--;
	}
	port->frontends[at] = *frontend;
}

static int frontend_add(struct publisher *publisher, struct port_record *port,
			const struct planned_frontend *planned, uint32_t address)
{
	const struct port_frontend frontend = {
		.frontend = planned->frontend,
		.kind = planned->kind,
		.address = address,
	};
	int err = address_gain(publisher, address, planned->kind);

	if (err)
		return err;
	err = entry_write(publisher, planned, port->id);
	if (err && address) {
		address_count_frontend(publisher, address, planned->kind, -1);
		(void)address_settle(publisher, address);
	}
	if (err)
		return err;
	frontend_insert(port, &frontend);
	publisher->numbers.frontends++;
	publisher->has_new_udp |= planned->frontend.proto == IPPROTO_UDP;
	return 0;
}

/*
 * Changes the kind at the same address and port: say, an external IP becomes the load balancer's.
 */
static int frontend_change(struct publisher *publisher, const struct port_record *port,
			   struct port_frontend *frontend, const struct planned_frontend *planned)
{
	const struct frontend_target target = {.service = port->id, .kind = (__u8)planned->kind};
	struct frontend_target holder;
	int err = address_gain(publisher, frontend->address, planned->kind);

	if (err)
		return err;
	if (!bpf_map_lookup_elem(publisher->maps.frontends, &frontend->frontend, &holder) &&
	    holder.service == port->id &&
	    bpf_map_update_elem(publisher->maps.frontends, &frontend->frontend, &target, BPF_EXIST))
		err = -errno;
	if (frontend->address) {
		address_count_frontend(publisher, frontend->address,
				       err ? planned->kind : frontend->kind, -1);
		(void)address_settle(publisher, frontend->address);
	}
	if (!err)
		frontend->kind = planned->kind;
	return err;
}

static void frontend_remove(struct publisher *publisher, struct port_record *port, uint32_t at)
{
	const struct port_frontend frontend = port->frontends[at];

	entry_leave(publisher, &frontend.frontend, port);
	if (frontend.address)
		address_release(publisher, frontend.address, frontend.kind, port->id);
	port->frontend_count--;
	memmove(&port->frontends[at], &port->frontends[at + 1],
		(port->frontend_count - at) * sizeof(frontend));
}

/*
 * For a frontend at an address of the node: marks its port before the first packet finds the
 * frontend, so that programs remember other traffic that leaves from it. Repeated with each plan,
 * because the address may have come to the node since.
 */
static void node_port_note(const struct publisher *publisher, const struct frontend *frontend,
			   uint32_t address)
{
	uint8_t *port;

	if (!address || !publisher->address_records[address].is_node)
		return;
	port = node_port_at(publisher, ntohs(frontend->port));
	if (!*port)
		STORE_RELAXED(*port, 1);
}

int frontends_apply(struct publisher *publisher, struct port_record *port,
		    const struct planned_port *planned, const uint32_t *addresses,
		    bool *ret_changed)
{
	int err = 0;

	for (size_t i = 0; !err && i < planned->frontend_count; i++) {
		const struct planned_frontend *wanted = &planned->frontends[i];
		struct port_frontend *frontend = frontend_find(port, &wanted->frontend);

		node_port_note(publisher, &wanted->frontend,
			       frontend ? frontend->address : addresses[i]);
		if (frontend && frontend->kind == (uint32_t)wanted->kind)
			continue;
		if (frontend)
			err = frontend_change(publisher, port, frontend, wanted);
		else
			err = frontend_add(publisher, port, wanted, addresses[i]);
		*ret_changed |= !err;
	}
	for (uint32_t i = port->frontend_count; !err && i; i--) {
		if (is_planned(planned, &port->frontends[i - 1].frontend))
			continue;
		frontend_remove(publisher, port, i - 1);
		*ret_changed = true;
	}
	return err;
}

void frontends_remove(struct publisher *publisher, struct port_record *port)
{
	while (port->frontend_count)
		frontend_remove(publisher, port, port->frontend_count - 1);
}

int frontend_adopt(struct publisher *publisher, struct port_record *port,
		   const struct frontend *frontend, const struct frontend_target *target)
{
	struct port_frontend *room, adopted = {.frontend = *frontend, .kind = target->kind};

	if (target->kind < FRONTEND_CLUSTER_IP || target->kind > FRONTEND_LOAD_BALANCER_IP)
		return -EINVAL;
	if (has_address(frontend)) {
		adopted.address = address_take(publisher, &frontend->vip);
		if (!adopted.address)
			return -EINVAL;
		if (!address_can_count(publisher, adopted.address, target->kind))
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
		address_count_frontend(publisher, adopted.address, target->kind, 1);
	publisher->numbers.frontends++;
	return 0;
}

void frontends_adopted(struct port_record *port)
{
	if (port->frontend_count)
		qsort(port->frontends, port->frontend_count, sizeof(*port->frontends),
		      frontend_compare);
}

bool publisher_take_new_udp(struct publisher *publisher)
{
	const bool has_new_udp = publisher->has_new_udp;

	publisher->has_new_udp = false;
	return has_new_udp;
}
