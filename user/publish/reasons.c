/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/reasons.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"

int reasons_init(struct reasons *reasons, size_t room)
{
	*reasons = (struct reasons){};
	if (!room)
		return 0;
	reasons->keys = calloc(room, sizeof(*reasons->keys));
	reasons->values = calloc(room, sizeof(*reasons->values));
	return reasons->keys && reasons->values ? 0 : -ENOMEM;
}

void reasons_fini(const struct reasons *reasons)
{
	free(reasons->keys);
	free(reasons->values);
}

static struct unprogrammed_key key_of(const struct service_name *name)
{
	struct unprogrammed_key key = {.proto = name->proto, .family = name->family};

	memcpy(key.namespace_, name->namespace_, NAME_SIZE);
	memcpy(key.name, name->name, NAME_SIZE);
	memcpy(key.port_name, name->port_name, NAME_SIZE);
	return key;
}

void reasons_add(struct reasons *reasons, const struct service_name *name,
		 enum unprogrammed_reason reason, const char *detail)
{
	struct unprogrammed *value = &reasons->values[reasons->count];

	reasons->keys[reasons->count++] = key_of(name);
	*value = (struct unprogrammed){.reason = reason, .type = name->type};
	(void)snprintf(value->detail, sizeof(value->detail), "%s", detail);
}

static int key_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct unprogrammed_key));
}

static void keys_sort(struct unprogrammed_key *keys, uint32_t count)
{
	if (count)
		qsort(keys, count, sizeof(*keys), key_compare);
}

static bool keys_have(const struct unprogrammed_key *keys, uint32_t count,
		      const struct unprogrammed_key *key)
{
	return count && bsearch(key, keys, count, sizeof(*keys), key_compare);
}

void reasons_sort(struct service_record *service)
{
	keys_sort(service->unprogrammed, service->unprogrammed_count);
}

static void reason_write(int map, const struct unprogrammed_key *key,
			 const struct unprogrammed *value)
{
	struct unprogrammed before;

	if (!bpf_map_lookup_elem(map, key, &before) && !memcmp(&before, value, sizeof(before)))
		return;
	if (bpf_map_update_elem(map, key, value, BPF_ANY))
		(void)log_err(-errno, "cannot record why %s/%s is not programmed, continuing",
			      key->namespace_, key->name);
}

int reasons_write(const struct reasons *reasons, int map, struct service_record *service)
{
	struct unprogrammed_key *kept = NULL;

	if (reasons->count) {
		kept = malloc(reasons->count * sizeof(*kept));
		if (!kept)
			return -ENOMEM;
		memcpy(kept, reasons->keys, reasons->count * sizeof(*kept));
		keys_sort(kept, reasons->count);
	}
	for (uint32_t i = 0; i < service->unprogrammed_count; i++) {
		if (!keys_have(kept, reasons->count, &service->unprogrammed[i]))
			(void)bpf_map_delete_elem(map, &service->unprogrammed[i]);
	}
	for (uint32_t i = 0; i < reasons->count; i++)
		reason_write(map, &reasons->keys[i], &reasons->values[i]);
	free(service->unprogrammed);
	service->unprogrammed = kept;
	service->unprogrammed_count = reasons->count;
	return 0;
}

/* Says where the port does not answer, and who has the first of these places. */
static bool taken_describe(const struct service_set *services, const struct frontend_set *frontends,
			   const struct port_record *port, struct unprogrammed *ret_value)
{
	const struct port_frontend *first = NULL;
	const struct port_record *holder;
	char text[ADDRESS_TEXT_SIZE], more[32] = "";
	struct frontend_target target;
	uint32_t count = 0;

	for (uint32_t i = 0; i < port->frontend_count; i++) {
		if (!port->frontends[i].is_displaced)
			continue;
		first = first ? first : &port->frontends[i];
		count++;
	}
	if (!first || bpf_map_lookup_elem(frontends->map, &first->frontend, &target))
		return false;
	holder = service_set_port_of(services, target.service);
	if (!holder)
		return false;
	if (count > 1)
		(void)snprintf(more, sizeof(more), ", and %u more", count - 1);
	*ret_value = (struct unprogrammed){.reason = UNPROGRAMMED_TAKEN};
	(void)snprintf(ret_value->detail, sizeof(ret_value->detail), "%s/%s by %s%s",
		       endpoint_format(&first->frontend.vip, first->frontend.port, text),
		       proto_name(first->frontend.proto), holder->service->name, more);
	return true;
}

static const char *port_title(const struct port_record *port)
{
	return port->port_name[0] ? port->port_name : "(unnamed)";
}

static void taken_write(const struct service_set *services, const struct frontend_set *frontends,
			int map, struct port_record *port)
{
	const struct service_record *service = port->service;
	struct unprogrammed_key key;
	struct unprogrammed value;
	struct service_name name;
	bool is_taken = taken_describe(services, frontends, port, &value);

	if (!is_taken && port->is_taken)
		log_info("service %s port %s answers at all its addresses again", service->name,
			 port_title(port));
	if (!is_taken)
		reasons_forget_taken(services, map, port);
	if (!is_taken || bpf_map_lookup_elem(services->names, &port->id, &name))
		return;
	key = key_of(&name);
	if (keys_have(service->unprogrammed, service->unprogrammed_count, &key))
		return;
	value.type = name.type;
	reason_write(map, &key, &value);
	if (!port->is_taken)
		log_warning("service %s port %s: taken: %s. " TAKEN_RULE, service->name,
			    port_title(port), value.detail);
	port->is_taken = true;
}

void reasons_write_taken(const struct service_set *services, const struct frontend_set *frontends,
			 int map)
{
	const struct service_record *service;
	struct port_record *port;
	uint32_t position = 0;

	while ((service = lookup_next(&services->by_name, &position))) {
		for (port = service->ports; port; port = port->next) {
			if (frontends->displaced.count || port->is_taken || port->is_reported)
				taken_write(services, frontends, map, port);
		}
	}
}

void reasons_drain_taken(const struct service_set *services, const struct frontend_set *frontends,
			 publisher_taken_fn fn, void *context)
{
	const struct service_record *service;
	struct unprogrammed value;
	struct service_name name;
	struct port_record *port;
	uint32_t position = 0;

	if (!frontends->displaced.count)
		return;
	while ((service = lookup_next(&services->by_name, &position))) {
		for (port = service->ports; port; port = port->next) {
			if (!port->is_taken || port->is_reported ||
			    !taken_describe(services, frontends, port, &value) ||
			    bpf_map_lookup_elem(services->names, &port->id, &name))
				continue;
			port->is_reported = true;
			fn(&name, value.detail, context);
		}
	}
}

void reasons_forget_taken(const struct service_set *services, int map, struct port_record *port)
{
	struct unprogrammed_key key;
	struct service_name name;

	port->is_reported = false;
	if (!port->is_taken || bpf_map_lookup_elem(services->names, &port->id, &name))
		return;
	key = key_of(&name);
	if (!keys_have(port->service->unprogrammed, port->service->unprogrammed_count, &key))
		(void)bpf_map_delete_elem(map, &key);
	port->is_taken = false;
}
