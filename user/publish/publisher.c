/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/publisher.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "publish/adoption.h"
#include "publish/left_alone.h"
#include "publish/ports.h"
#include "publish/publisher_parts.h"
#include "publish/reasons.h"

static int parts_init(struct publisher *publisher, const struct publisher_maps *maps)
{
	struct retirement *retirement = &publisher->retirement;
	struct shortage *shortage = &publisher->shortage;
	int err;

	publisher->unprogrammed = maps->unprogrammed;
	publisher->survey =
		(struct survey){.flows = maps->flows, .services_max = maps->services_max};
	publisher->ranges =
		(struct source_ranges){.map = maps->source_ranges, .shortage = shortage};
	err = service_set_init(&publisher->services, maps, retirement, shortage);
	if (err)
		return log_err(err, "cannot make the publisher's table of services");
	err = slot_lists_init(&publisher->lists, maps, retirement, shortage);
	if (err)
		return log_err(err, "cannot make the publisher's table of slots");
	err = address_set_init(&publisher->addresses, maps, retirement, shortage);
	if (err)
		return log_err(err, "cannot make the publisher's table of addresses");
	err = backend_set_init(&publisher->backends, maps, &publisher->addresses, retirement,
			       shortage);
	if (err)
		return log_err(err, "cannot make the publisher's table of backends");
	err = frontend_set_init(&publisher->frontends, maps, &publisher->addresses,
				&publisher->services, shortage);
	return err ? log_err(err, "cannot map the map node_ports") : 0;
}

static void publisher_freep(struct publisher **publisher)
{
	publisher_close(*publisher);
}

int publisher_open(const struct publisher_maps *maps, struct publisher **ret_publisher)
{
	auto_cleanup(publisher_freep) struct publisher *publisher = calloc(1, sizeof(*publisher));
	int err;

	if (!publisher)
		return log_err(-ENOMEM, "cannot allocate the publisher");
	err = parts_init(publisher, maps);
	if (err)
		return err;
	err = adopt_maps(publisher);
	if (err)
		return err;
	*ret_publisher = take_ptr(publisher);
	return 0;
}

void publisher_close(struct publisher *publisher)
{
	if (!publisher)
		return;
	service_set_fini(&publisher->services);
	slot_lists_fini(&publisher->lists);
	address_set_fini(&publisher->addresses);
	backend_set_fini(&publisher->backends);
	frontend_set_fini(&publisher->frontends);
	retirement_fini(&publisher->retirement);
	free(publisher);
}

/* A port that is in no map: its ClusterIP must not pass for an address that no Service has. */
static void port_leave_alone(const struct service_set *services, struct left_addresses *left,
			     const struct service_record *service,
			     const struct planned_port *planned)
{
	if (service_set_find_port(services, service, &planned->name))
		return;
	for (size_t i = 0; i < planned->frontend_count; i++) {
		if (planned->frontends[i].kind == FRONTEND_CLUSTER_IP)
			left_addresses_add(left, &planned->frontends[i].frontend.vip);
	}
}

static void service_retire_missing(struct publisher *publisher, struct service_record *service)
{
	struct port_record *port, *next;

	DL_FOREACH_SAFE(service->ports, port, next)
	{
		if (port->is_planned)
			continue;
		port_retire(publisher, service, port);
		publisher->changed_service_ports++;
	}
}

static void port_log_unfitting(const struct service_record *service,
			       const struct planned_port *planned, const char *reason)
{
	char text[ADDRESS_TEXT_SIZE];
	const struct frontend *frontend = &planned->frontends->frontend;

	for (size_t i = 0; i < planned->frontend_count; i++) {
		if (planned->frontends[i].kind == FRONTEND_CLUSTER_IP)
			frontend = &planned->frontends[i].frontend;
	}
	log_warning("service %s port %s (%s/%s) does not fit and is left as it was: %s",
		    service->name,
		    planned->name.port_name[0] ? planned->name.port_name : "(unnamed)",
		    endpoint_format(&frontend->vip, frontend->port, text),
		    proto_name(planned->name.proto), reason);
}

/*
 * Applies one port. If it does not fit, adds the reason, and logs it unless the Service already did
 * not fit.
 */
static int service_apply_port(struct publisher *publisher, struct service_record *service,
			      const struct planned_port *planned, struct reasons *reasons)
{
	struct port_record *port;
	const char *why;
	int err;

	if (planned->unprogrammed) {
		port = service_set_find_port(&publisher->services, service, &planned->name);
		if (port) {
			port->is_claimed = true;
			/* What does not fit stays as it was. */
			port->is_planned = planned->unprogrammed == UNPROGRAMMED_MAP_FULL;
		}
		reasons_add(reasons, &planned->name, planned->unprogrammed, planned->detail);
		return 0;
	}
	err = port_apply(publisher, service, planned);
	if (err != -ENOSPC)
		return err;
	why = shortage_text(&publisher->shortage);
	reasons_add(reasons, &planned->name, UNPROGRAMMED_MAP_FULL, why);
	publisher->refused_service_ports++;
	if (!service->unfitting)
		port_log_unfitting(service, planned, why);
	return -ENOSPC;
}

/* A Service whose addresses do not fit is retried like one whose ports do not fit. */
static int service_leave_alone(struct publisher *publisher, struct service_record *service,
			       const struct left_addresses *left, uint32_t *unfitting)
{
	int err = left_alone_replace(&publisher->addresses, service, left);

	if (err != -ENOSPC || *unfitting)
		return err;
	*unfitting = 1;
	publisher->refused_service_ports++;
	if (!service->unfitting)
		log_warning("service %s is left alone, but its ClusterIP cannot be told from one "
			    "that no Service has: %s",
			    service->name, shortage_text(&publisher->shortage));
	return err;
}

static int service_apply(struct publisher *publisher, struct service_record *service,
			 const struct plan *plan)
{
	auto_cleanup(reasons_fini) struct reasons reasons = {};
	struct left_addresses left = {};
	struct port_record *port;
	uint32_t unfitting = 0;
	int err, first = 0;

	err = reasons_init(&reasons, plan ? plan->port_count : 0);
	if (err)
		return err;
	DL_FOREACH(service->ports, port)
	{
		port->is_planned = false;
	}
	for (size_t i = 0; plan && i < plan->left_alone_count; i++)
		left_addresses_add(&left, &plan->left_alone[i]);
	for (size_t i = 0; plan && i < plan->port_count; i++) {
		err = service_apply_port(publisher, service, &plan->ports[i], &reasons);
		unfitting += err == -ENOSPC;
		if (err == -ENOSPC)
			port_leave_alone(&publisher->services, &left, service, &plan->ports[i]);
		/* An error that concerns more than one port takes precedence. */
		if (!first || first == -ENOSPC)
			first = err ? err : first;
	}
	err = service_leave_alone(publisher, service, &left, &unfitting);
	first = first ? first : err;
	/* Ports are retired last, so that a port that was only renamed answers without a gap. */
	service_retire_missing(publisher, service);
	publisher->unfitting += unfitting - service->unfitting;
	service->unfitting = unfitting;
	/* A reason that goes may have hidden that an address is another Service's. */
	if (service->unprogrammed_count && publisher->frontends.displaced.count)
		publisher->frontends.displaced_changed = true;
	err = reasons_write(&reasons, publisher->unprogrammed, service);
	return first ? first : err;
}

/* What a plan says about a Service's age decides who gets what two of them want. */
static void service_claim(struct publisher *publisher, struct service_record *service,
			  const struct plan *plan)
{
	bool is_known = service->is_claimed && (!plan || plan->created_s == service->created_s);

	service->is_claimed = true;
	if (is_known)
		return;
	service->created_s = plan ? plan->created_s : 0;
	for (const struct port_record *port = service->ports; port; port = port->next)
		frontend_set_contend(&publisher->frontends, port);
}

/*
 * Writes what changed about frontends that more than one Service wants. Looks at all service ports:
 * once for many changes.
 */
static void taken_write_changed(struct publisher *publisher)
{
	if (!publisher->frontends.displaced_changed)
		return;
	publisher->frontends.displaced_changed = false;
	reasons_write_taken(&publisher->services, &publisher->frontends, publisher->unprogrammed);
}

int publisher_apply(struct publisher *publisher, const char *namespace_, const char *name,
		    const struct plan *plan)
{
	struct service_set *services = &publisher->services;
	bool has_ports = plan && plan->port_count;
	struct service_record *service;
	int err;

	service = has_ports ? service_set_get_or_add(services, namespace_, name)
			    : service_set_find(services, namespace_, name);
	if (!service)
		return has_ports ? -ENOMEM : 0;
	service_claim(publisher, service, plan);
	err = service_apply(publisher, service, plan);
	service_set_drop_empty(services, service);
	return err;
}

int publisher_retry_unfitting(struct publisher *publisher, publisher_service_fn fn, void *context)
{
	struct shortage *shortage = &publisher->shortage;
	struct service_record *service;
	uint32_t position = 0;
	char key[2 * NAME_SIZE];
	char *slash;
	int err;

	if (!shortage->has_room || !publisher->unfitting)
		return 0;
	shortage->has_room = false;
	shortage->wanted = 0;
	while ((service = lookup_next(&publisher->services.by_name, &position))) {
		if (!service->unfitting)
			continue;
		(void)snprintf(key, sizeof(key), "%s", service->name);
		slash = strchr(key, '/');
		if (!slash)
			continue;
		*slash = '\0';
		err = fn(key, slash + 1, context);
		if (err && err != -ENOSPC) {
			shortage->has_room = true; /* for the Services that were not retried */
			return err;
		}
	}
	return 0;
}

void publisher_claim(struct publisher *publisher, const char *namespace_, const char *name)
{
	struct service_record *service = service_set_find(&publisher->services, namespace_, name);

	if (!service)
		return;
	service->is_claimed = true;
	for (struct port_record *port = service->ports; port; port = port->next)
		port->is_claimed = true;
}

void publisher_remove_unclaimed(struct publisher *publisher)
{
	struct port_record *port, *next_port;
	struct service_record *service;
	uint32_t position = 0;

	while ((service = lookup_next(&publisher->services.by_name, &position))) {
		for (port = service->ports; port; port = next_port) {
			next_port = port->next;
			if (port->is_claimed)
				continue;
			port_retire(publisher, service, port);
			publisher->changed_service_ports++;
		}
		if (!service->is_claimed) {
			(void)left_alone_replace(&publisher->addresses, service,
						 &(struct left_addresses){});
			(void)reasons_write(&(struct reasons){}, publisher->unprogrammed, service);
		}
		service_set_drop_empty(&publisher->services, service);
	}
	taken_write_changed(publisher);
}

void publisher_drain_taken(struct publisher *publisher, publisher_taken_fn fn, void *context)
{
	taken_write_changed(publisher);
	reasons_drain_taken(&publisher->services, &publisher->frontends, fn, context);
}

int publisher_write_node_addresses(struct publisher *publisher, const struct ip_addr *addrs,
				   size_t count)
{
	int err = address_set_write_node(&publisher->addresses, addrs, count);

	if (err == -ENOSPC)
		log_warning(
			"not all addresses of the node could be recorded, NodePorts and replies "
			"at the others do not work: %s",
			shortage_text(&publisher->shortage));
	else if (err)
		(void)log_err(err, "cannot record all addresses of the node");
	return err;
}

/* Frees what no program looks at any more. */
static void retired_free(struct publisher *publisher, const struct retired *item)
{
	struct shortage *shortage = &publisher->shortage;

	switch (item->kind) {
	case RETIRED_SLOTS:
		buddy_free(&publisher->lists.free, item->id, item->count);
		shortage_record_freed(shortage, FULL_SLOTS);
		break;
	case RETIRED_LIST:
		/* If the policies changed again, another grace period runs. */
		if (service_set_forget_list(&publisher->services, item->id))
			slot_lists_empty_unused(&publisher->lists,
						&publisher->services.entries[item->id]);
		break;
	case RETIRED_BACKEND:
		backend_set_release_id(&publisher->backends, item->id);
		shortage_record_freed(shortage, FULL_BACKENDS);
		break;
	case RETIRED_SERVICE:
		service_set_release_id(&publisher->services, item->id);
		shortage_record_freed(shortage, FULL_SERVICES);
		shortage_record_freed(shortage, FULL_FRONTENDS);
		break;
	case RETIRED_ADDRESS:
		address_set_release_id(&publisher->addresses, item->id);
		shortage_record_freed(shortage, FULL_ADDRESSES);
		break;
	}
}

/*
 * Frees a use of a service port's id when no flow of its VIP refers to it any more. `used` marks
 * the ids that established flows refer to; NULL: there was no survey.
 */
static bool service_try_free(struct publisher *publisher, const struct retired *item,
			     const uint8_t *used, uint64_t now_ns)
{
	struct address_set *addresses = &publisher->addresses;

	if (item->vip && address_set_has_flows(addresses, item->vip, now_ns) &&
	    (!used || used[item->id] || now_ns - item->ready_ns < SURVEY_NS))
		return false;
	if (item->vip)
		address_set_end_retired(addresses, item->vip);
	retired_free(publisher, item);
	return true;
}

/* Checks once each entry that waits for its flows to end. */
static void waiting_check(struct publisher *publisher, uint64_t now_ns)
{
	struct retirement *retirement = &publisher->retirement;
	auto_cleanup(cleanup_free) uint8_t *used = NULL;

	if (service_set_is_scarce(&publisher->services))
		used = survey_services(&publisher->survey, now_ns);
	for (uint32_t left = retirement->waiting.count; left; left--) {
		struct retired item = retirement_dequeue_waiting(retirement);
		bool is_done = false;

		if (item.ready_ns <= now_ns)
			is_done = item.kind == RETIRED_BACKEND
					  ? backend_set_try_free(&publisher->backends, item.id,
								 now_ns)
					  : service_try_free(publisher, &item, used, now_ns);
		if (!is_done)
			retirement_requeue_waiting(retirement, &item);
	}
	retirement_end_check(retirement, now_ns);
}

uint64_t publisher_reclaim(struct publisher *publisher, uint64_t now_ns)
{
	struct retirement *retirement = &publisher->retirement;
	struct retired item;

	if (retirement_is_check_due(retirement, now_ns))
		waiting_check(publisher, now_ns);
	while (retirement_dequeue(retirement, now_ns, &item))
		retired_free(publisher, &item);
	return retirement_wait_ms(retirement, now_ns);
}

static bool publisher_serves(const struct publisher *publisher, uint32_t service, uint32_t backend)
{
	return slot_lists_serve(&publisher->lists, &publisher->services.entries[service], backend);
}

void publisher_drain_departures(struct publisher *publisher, publisher_departure_fn fn,
				void *context)
{
	struct backend_set *backends = &publisher->backends;

	for (uint32_t i = 0; i < backends->departure_count; i++) {
		const struct backend_departure *departure = &backends->departures[i];
		const struct backend *backend = &backends->entries[departure->backend];

		/* It may have come back since. */
		if (!publisher_serves(publisher, departure->service, departure->backend))
			fn(departure->service, &backend->addr, backend->port, context);
	}
	backends->departure_count = 0;
}

bool publisher_serves_udp(const struct publisher *publisher, uint32_t service,
			  const struct ip_addr *addr, __be16 port)
{
	uint32_t id = backend_set_find(&publisher->backends, addr, port, IPPROTO_UDP);

	return id && publisher_serves(publisher, service, id);
}

bool publisher_poll_new_udp(struct publisher *publisher)
{
	const bool has_new_udp = publisher->frontends.has_new_udp;

	publisher->frontends.has_new_udp = false;
	return has_new_udp;
}

void publisher_numbers(const struct publisher *publisher, struct publisher_numbers *ret_numbers)
{
	*ret_numbers = (struct publisher_numbers){
		.service_ports = publisher->services.port_count,
		.backends = publisher->backends.count,
		.draining = publisher->backends.draining,
		.unused = publisher->backends.unused,
		.slots = publisher->lists.used,
		.frontends = publisher->frontends.count,
		.addresses = id_pool_count(&publisher->addresses.ids),
		.source_ranges = publisher->ranges.count,
		.changed_service_ports = publisher->changed_service_ports,
		.refused_service_ports = publisher->refused_service_ports,
		.unfitting = publisher->unfitting,
	};
}
