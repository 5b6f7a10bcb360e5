/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Frontends: which service port answers at an address and port. Two may want the same one: while
 * a Service is replaced by another, a port gets a new name, or somebody copied a manifest. The last
 * to come has it, and the other, displaced, gets it back when that one goes.
 */

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "address.h"
#include "log.h"
#include "publish/publisher.h"

static bool frontend_equal(const struct port_record *port, const struct frontend *frontend)
{
	return port->vip && !memcmp(&port->frontend, frontend, sizeof(*frontend));
}

/* True if the map has no room for it, and it would need some. */
static bool frontends_are_full(const struct publisher *publisher, const struct frontend *frontend)
{
	struct frontend_target target;

	return publisher->numbers.frontends - publisher->displaced >= publisher->frontends_max &&
	       bpf_map_lookup_elem(publisher->maps.frontends, frontend, &target);
}

int frontend_prepare(struct publisher *publisher, const struct port_record *port,
		     const struct planned_frontend *planned, uint32_t *ret_vip)
{
	*ret_vip = 0;
	if (frontend_equal(port, &planned->frontend))
		return 0;
	if (frontends_are_full(publisher, &planned->frontend))
		return publisher_is_full(publisher, FULL_FRONTENDS);
	*ret_vip = address_take(publisher, &planned->frontend.vip);
	return *ret_vip ? 0 : publisher_is_full(publisher, FULL_ADDRESSES);
}

static int entry_write(struct publisher *publisher, const struct planned_frontend *planned,
		       uint32_t service)
{
	const struct frontend_target target = {.service = service, .kind = (__u8)planned->kind};
	const struct frontend *frontend = &planned->frontend;
	char text[ADDRESS_TEXT_SIZE];

	if (!bpf_map_update_elem(publisher->maps.frontends, frontend, &target, BPF_NOEXIST))
		return 0;
	if (errno == EEXIST &&
	    !bpf_map_update_elem(publisher->maps.frontends, frontend, &target, BPF_EXIST)) {
		publisher->displaced++;
		log_debug("%s/%s moves from one service port to another",
			  endpoint_format(&frontend->vip, frontend->port, text),
			  proto_name(frontend->proto));
		return 0;
	}
	return errno == E2BIG ? publisher_is_full(publisher, FULL_FRONTENDS) : -errno;
}

/* A service port other than `port` that wants the frontend. Looks at all of them, so ask only where
 * there is one. */
static const struct port_record *frontend_find_displaced(const struct publisher *publisher,
							 const struct frontend *frontend,
							 const struct port_record *port)
{
	const struct service_record *service;
	const struct port_record *other;
	uint32_t position = 0;

	while ((service = lookup_next(&publisher->by_name, &position))) {
		for (other = service->ports; other; other = other->next) {
			if (other != port && frontend_equal(other, frontend))
				return other;
		}
	}
	return NULL;
}

/* Gives the frontend, which was the port's, to one that was displaced; or it goes. */
static void entry_hand_on(struct publisher *publisher, const struct frontend *frontend,
			  const struct port_record *port)
{
	const struct port_record *next = NULL;
	struct frontend_target target = {};

	if (publisher->displaced)
		next = frontend_find_displaced(publisher, frontend, port);
	if (!next) {
		(void)bpf_map_delete_elem(publisher->maps.frontends, frontend);
		publisher->has_room |= (publisher->wanted & 1U << FULL_FRONTENDS) != 0;
		return;
	}
	target.service = next->id;
	target.kind = (__u8)next->kind;
	if (bpf_map_update_elem(publisher->maps.frontends, frontend, &target, BPF_EXIST))
		(void)log_err(-errno, "cannot give a frontend back, continuing");
	publisher->displaced--;
}

static void frontend_leave(struct publisher *publisher, const struct frontend *frontend,
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

/*
 * A ClusterIP does not change while a Service lives, but it may be deleted and made anew between
 * two looks.
 */
int frontend_move(struct publisher *publisher, struct port_record *port,
		  const struct planned_frontend *planned, uint32_t vip)
{
	uint32_t before_vip = port->vip;
	struct frontend before = port->frontend;
	int err;

	publisher->address_records[vip].vips++;
	err = address_settle(publisher, vip);
	if (!err)
		err = entry_write(publisher, planned, port->id);
	if (err) {
		publisher->address_records[vip].vips--;
		(void)address_settle(publisher, vip);
		return err;
	}
	port->frontend = planned->frontend;
	port->kind = planned->kind;
	port->vip = vip;
	publisher->numbers.frontends++;
	if (before_vip) {
		frontend_leave(publisher, &before, port);
		address_release_vip(publisher, before_vip, 0);
	}
	return 0;
}

void frontend_remove(struct publisher *publisher, const struct port_record *port)
{
	frontend_leave(publisher, &port->frontend, port);
	address_release_vip(publisher, port->vip, port->id);
}
