/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/publisher.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "fairlead/limits.h"
#include "base/log.h"
#include "publish/publisher_parts.h"

#define TEXT_OF(macro)  TEXT_OF_(macro)
#define TEXT_OF_(macro) #macro

/* For each map that is full: its name, and the option that makes it larger. */
static const char *const full_texts[] = {
	[FULL_SERVICES] = "map services is full: raise --max-services",
	[FULL_FRONTENDS] = "map frontends is full: raise --max-frontends",
	[FULL_SLOTS] = "map slots is full: raise --max-slots",
	[FULL_BACKENDS] = "map backends is full: raise --max-backends",
	[FULL_ADDRESSES] = "map addresses is full: raise --max-backends",
	[FULL_SOURCE_RANGES] = "map source_ranges is full: raise --max-source-ranges",
	[FULL_LIST] = ("more than " TEXT_OF(SLOT_RANGE_MAX) " endpoints: split the Service"),
};

int publisher_is_full(struct publisher *publisher, enum full full)
{
	publisher->full = full;
	publisher->wanted |= 1U << full;
	return -ENOSPC;
}

static void key_fill(const struct service_name *name, struct unprogrammed_key *ret_key)
{
	memset(ret_key, 0, sizeof(*ret_key));
	memcpy(ret_key->namespace_, name->namespace_, NAME_SIZE);
	memcpy(ret_key->name, name->name, NAME_SIZE);
	memcpy(ret_key->port_name, name->port_name, NAME_SIZE);
	ret_key->proto = name->proto;
	ret_key->family = name->family;
}

struct reasons {
	struct unprogrammed_key *keys;
	struct unprogrammed *values;
	uint32_t count;
};

static void reasons_fini(const struct reasons *reasons)
{
	free(reasons->keys);
	free(reasons->values);
}

static void reasons_add(struct reasons *reasons, const struct service_name *name,
			enum unprogrammed_reason reason, const char *detail)
{
	struct unprogrammed *value = &reasons->values[reasons->count];

	key_fill(name, &reasons->keys[reasons->count++]);
	memset(value, 0, sizeof(*value));
	value->reason = reason;
	value->type = name->type;
	(void)snprintf(value->detail, sizeof(value->detail), "%s", detail);
}

/* The addresses of a Service to leave alone: at most one ClusterIP of each family. */
struct left_addresses {
	struct ip_addr addrs[2];
	size_t count;
};

static void left_add(struct left_addresses *left, const struct ip_addr *addr)
{
	for (size_t i = 0; i < left->count; i++) {
		if (address_equal(&left->addrs[i], addr))
			return;
	}
	if (left->count < sizeof(left->addrs) / sizeof(left->addrs[0]))
		left->addrs[left->count++] = *addr;
}

/* A port that is in no map: its ClusterIP must not pass for an address that no Service has. */
static void left_add_port(struct left_addresses *left, const struct service_record *service,
			  const struct planned_port *planned)
{
	if (port_find(service, planned->name.port_name, planned->name.proto, planned->name.family))
		return;
	for (size_t i = 0; i < planned->frontend_count; i++) {
		if (planned->frontends[i].kind == FRONTEND_CLUSTER_IP)
			left_add(left, &planned->frontends[i].frontend.vip);
	}
}

static bool plan_has_port(const struct plan *plan, const struct port_record *port)
{
	for (size_t i = 0; plan && i < plan->port_count; i++) {
		const struct planned_port *planned = &plan->ports[i];

		if (!planned->unprogrammed && planned->name.proto == port->proto &&
		    planned->name.family == port->family &&
		    !strcmp(planned->name.port_name, port->port_name))
			return true;
	}
	return false;
}

static void service_retire_missing(struct publisher *publisher, struct service_record *service,
				   const struct plan *plan)
{
	struct port_record *port = service->ports, *next;

	for (; port; port = next) {
		next = port->next;
		if (plan_has_port(plan, port))
			continue;
		port_retire(publisher, service, port);
		publisher->numbers.changed_service_ports++;
	}
}

static void log_full(const struct service_record *service, const struct planned_port *planned,
		     const char *reason)
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
	const char *why;
	int err;

	if (planned->unprogrammed) {
		reasons_add(reasons, &planned->name, planned->unprogrammed, planned->detail);
		return 0;
	}
	err = port_apply(publisher, service, planned);
	if (err != -ENOSPC)
		return err;
	why = full_texts[publisher->full];
	reasons_add(reasons, &planned->name, UNPROGRAMMED_MAP_FULL, why);
	publisher->numbers.refused_service_ports++;
	if (!service->unfitting)
		log_full(service, planned, why);
	return -ENOSPC;
}

/* A Service whose addresses do not fit is retried like one whose ports do not fit. */
static int service_leave_alone(struct publisher *publisher, struct service_record *service,
			       const struct left_addresses *left, uint32_t *unfitting)
{
	int err = left_alone_set(publisher, service, left->addrs, left->count);

	if (err != -ENOSPC || *unfitting)
		return err;
	*unfitting = 1;
	if (!service->unfitting)
		log_warning("service %s is left alone, but its ClusterIP cannot be told from one "
			    "that no Service has: %s",
			    service->name, full_texts[publisher->full]);
	return err;
}

static int service_apply(struct publisher *publisher, struct service_record *service,
			 const struct plan *plan)
{
	auto_cleanup(reasons_fini) struct reasons reasons = {};
	struct left_addresses left = {};
	uint32_t unfitting = 0;
	int err, first = 0;

	if (plan && plan->port_count) {
		reasons.keys = calloc(plan->port_count, sizeof(*reasons.keys));
		reasons.values = calloc(plan->port_count, sizeof(*reasons.values));
		if (!reasons.keys || !reasons.values)
			return -ENOMEM;
	}
	for (size_t i = 0; plan && i < plan->left_alone_count; i++)
		left_add(&left, &plan->left_alone[i]);
	for (size_t i = 0; plan && i < plan->port_count; i++) {
		err = service_apply_port(publisher, service, &plan->ports[i], &reasons);
		unfitting += err == -ENOSPC;
		if (err == -ENOSPC)
			left_add_port(&left, service, &plan->ports[i]);
		/* An error that concerns more than one port takes precedence. */
		if (!first || first == -ENOSPC)
			first = err ? err : first;
	}
	err = service_leave_alone(publisher, service, &left, &unfitting);
	first = first ? first : err;
	/* Ports are retired last, so that a port that was only renamed answers without a gap. */
	service_retire_missing(publisher, service, plan);
	publisher->numbers.unfitting += unfitting - service->unfitting;
	service->unfitting = unfitting;
	err = reasons_set(publisher, service, reasons.keys, reasons.values, reasons.count);
	return first ? first : err;
}

int publisher_apply(struct publisher *publisher, const char *namespace_, const char *name,
		    const struct plan *plan)
{
	struct service_record *service =
		service_get(publisher, namespace_, name, plan && plan->port_count);
	int err;

	if (!service)
		return plan && plan->port_count ? -ENOMEM : 0;
	service->is_claimed = true;
	err = service_apply(publisher, service, plan);
	service_drop_empty(publisher, service);
	return err;
}

int publisher_retry_unfitting(struct publisher *publisher, publisher_service_fn fn, void *context)
{
	struct service_record *service;
	uint32_t position = 0;
	char key[2 * NAME_SIZE];
	char *slash;
	int err;

	if (!publisher->has_room || !publisher->numbers.unfitting)
		return 0;
	publisher->has_room = false;
	publisher->wanted = 0;
	while ((service = lookup_next(&publisher->by_name, &position))) {
		if (!service->unfitting)
			continue;
		(void)snprintf(key, sizeof(key), "%s", service->name);
		slash = strchr(key, '/');
		if (!slash)
			continue;
		*slash = '\0';
		err = fn(key, slash + 1, context);
		if (err && err != -ENOSPC) {
			publisher->has_room = true; /* for the Services that were not retried */
			return err;
		}
	}
	return 0;
}

int publisher_remove_unclaimed(struct publisher *publisher)
{
	struct port_record *port, *next_port;
	struct service_record *service;
	uint32_t position = 0;

	while ((service = lookup_next(&publisher->by_name, &position))) {
		for (port = service->ports; port; port = next_port) {
			next_port = port->next;
			if (port->is_claimed)
				continue;
			port_retire(publisher, service, port);
			publisher->numbers.changed_service_ports++;
		}
		if (!service->is_claimed) {
			(void)left_alone_set(publisher, service, NULL, 0);
			(void)reasons_set(publisher, service, NULL, NULL, 0);
		}
		service_drop_empty(publisher, service);
	}
	return 0;
}

static int node_address_add(struct publisher *publisher, const struct ip_addr *addr)
{
	uint32_t index = address_take(publisher, addr);
	int err;

	if (!index)
		return -ENOSPC;
	publisher->address_records[index].is_node = true;
	err = address_settle(publisher, index);
	if (err) {
		publisher->address_records[index].is_node = false;
		address_drop_unused(publisher, index);
	}
	return err;
}

int publisher_set_node_addresses(struct publisher *publisher, const struct ip_addr *addrs,
				 size_t count)
{
	int err, first = 0;

	for (uint32_t i = 1; i < publisher->address_ids.next_fresh; i++)
		publisher->address_records[i].is_node = false;
	for (size_t i = 0; i < count; i++) {
		err = node_address_add(publisher, &addrs[i]);
		first = first ? first : err;
	}
	for (uint32_t i = 1; i < publisher->address_ids.next_fresh; i++) {
		const struct address_record *record = &publisher->address_records[i];

		if (record->flags & ADDRESS_NODE && !record->is_node)
			(void)address_settle(publisher, i);
	}
	return first;
}

void publisher_drain_left(struct publisher *publisher, publisher_left_fn fn, void *context)
{
	for (uint32_t i = 0; i < publisher->left_count; i++) {
		const struct left_backend *left = &publisher->left[i];
		const struct backend *backend = backend_at(publisher, left->backend);

		/* It may have come back since. */
		if (!service_lists(publisher, left->service, left->backend))
			fn(left->service, &backend->addr, backend->port, context);
	}
	publisher->left_count = 0;
}

bool publisher_serves_udp(const struct publisher *publisher, uint32_t service,
			  const struct ip_addr *addr, __be16 port)
{
	uint32_t id = backend_find(publisher, addr, port, IPPROTO_UDP);

	return id && service_lists(publisher, service, id);
}

void publisher_numbers(const struct publisher *publisher, struct publisher_numbers *ret_numbers)
{
	const struct id_pool *addresses = &publisher->address_ids;

	*ret_numbers = publisher->numbers;
	ret_numbers->addresses = addresses->next_fresh - 1 - addresses->freed_count;
}
