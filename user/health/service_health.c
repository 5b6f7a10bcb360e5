/* SPDX-License-Identifier: BSD-2-Clause */
#include "health/service_health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/uthash.h"
#include "http/port_server.h"
#include "http/server.h"

#define NOTE_SIZE 512

struct listening {
	struct ip_addr addr;
	struct port_listener *listener; /* NULL: not opened yet */
};

struct entry {
	struct planned_health_check check; /* port 0: the entry is to be removed */
	__u16 port;                        /* the port that it owns now; 0: none */
	struct listening *places;          /* its listeners at that port */
	size_t place_count;
	unsigned int addresses_version; /* the version of the addresses in `places` */
	bool is_pending;                /* in the list of pending entries */
	bool is_complaint_made;
	UT_hash_handle hh, hh_port;
	struct entry *prev, *next; /* in the list of pending entries */
	char *name;                /* after the namespace's NUL: both together are the key */
	char namespace_[];
};

struct service_health_ports {
	struct service_health_options options;
	struct port_server *server;
	uv_timer_t retry;
	struct entry *entries; /* by namespace and name */
	struct entry *by_port; /* entries that own a port */
	struct entry *pending;
	struct ip_addr *addrs;
	size_t addr_count;
	unsigned int addresses_version;
};

/* Stands for all addresses of both families; no host has this address. */
static const struct ip_addr everywhere = {.bytes = {[0 ... 15] = 0xff}};

void service_health_answer(const struct service_health *health, struct http_response *ret_response)
{
	/* Load balancers may send the Service's traffic to this node. */
	const bool is_good = health->local_endpoints && health->is_proxy_healthy;
	int size;

	*ret_response = (struct http_response){
		.status = is_good ? 200 : 503,
		.headers = {{"Content-Type", "application/json"},
			    {"X-Content-Type-Options", "nosniff"},
			    {"X-Load-Balancing-Endpoint-Weight", ret_response->number_text}},
	};
	(void)snprintf(ret_response->number_text, sizeof(ret_response->number_text), "%zu",
		       health->local_endpoints);
	/* Names need no escaping: they are DNS labels. */
	size = asprintf(&ret_response->body,
			"{\n"
			"\t\"service\": {\n"
			"\t\t\"namespace\": \"%s\",\n"
			"\t\t\"name\": \"%s\"\n"
			"\t},\n"
			"\t\"localEndpoints\": %zu,\n"
			"\t\"serviceProxyHealthy\": %s\n"
			"}",
			health->namespace_, health->name, health->local_endpoints,
			health->is_proxy_healthy ? "true" : "false");
	if (size < 0)
		ret_response->body = NULL;
	else
		ret_response->body_size = (size_t)size;
}

static void ports_on_request(const struct port_request *request, struct http_response *response,
			     void *context)
{
	const struct service_health_ports *ports = context;
	struct service_health health;
	const struct entry *entry;

	HASH_FIND(hh_port, ports->by_port, &request->port, sizeof(request->port), entry);
	if (!entry)
		return;
	health = (struct service_health){
		.namespace_ = entry->namespace_,
		.name = entry->name,
		.local_endpoints = request->family == FAMILY_IPV4 ? entry->check.ipv4_endpoints
								  : entry->check.ipv6_endpoints,
		.is_proxy_healthy = ports->options.is_alive(ports->options.context),
	};
	service_health_answer(&health, response);
}

static void ports_on_retry(uv_timer_t *timer)
{
	service_health_ports_apply(timer->data);
}

struct service_health_ports *service_health_ports_new(uv_loop_t *loop,
						      const struct service_health_options *options)
{
	struct service_health_ports *ports = calloc(1, sizeof(*ports));

	if (!ports)
		return NULL;
	ports->options = *options;
	ports->server = port_server_new(loop, ports_on_request, ports);
	if (!ports->server || service_health_ports_set_addresses(ports, NULL, 0)) {
		port_server_close(ports->server);
		free(ports);
		return NULL;
	}
	(void)uv_timer_init(loop, &ports->retry);
	ports->retry.data = ports;
	return ports;
}

static void pending_add(struct service_health_ports *ports, struct entry *entry)
{
	if (entry->is_pending)
		return;
	entry->is_pending = true;
	DL_APPEND(ports->pending, entry);
}

static void pending_remove(struct service_health_ports *ports, struct entry *entry)
{
	if (!entry->is_pending)
		return;
	entry->is_pending = false;
	DL_DELETE(ports->pending, entry);
}

static void places_close(struct entry *entry)
{
	for (size_t i = 0; entry->places && i < entry->place_count; i++)
		port_listener_close(entry->places[i].listener);
	free(take_ptr(entry->places));
	entry->place_count = 0;
}

/* Closes the listeners and releases the port. */
static void entry_release(struct service_health_ports *ports, struct entry *entry)
{
	places_close(entry);
	if (entry->port && ports->by_port)
		HASH_DELETE(hh_port, ports->by_port, entry);
	entry->port = 0;
}

static void entry_free(struct service_health_ports *ports, struct entry *entry)
{
	entry_release(ports, entry);
	pending_remove(ports, entry);
	HASH_DELETE(hh, ports->entries, entry);
	free(entry);
}

static void ports_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void service_health_ports_close(struct service_health_ports *ports)
{
	struct entry *entry, *next;

	if (!ports)
		return;
	HASH_ITER (hh, ports->entries, entry, next)
		entry_free(ports, entry);
	port_server_close(ports->server);
	free(ports->addrs);
	uv_close((uv_handle_t *)&ports->retry, ports_on_closed);
}

int service_health_ports_set_addresses(struct service_health_ports *ports,
				       const struct ip_addr *addrs, size_t count)
{
	struct entry *entry, *next;
	struct ip_addr *copy;

	if (!addrs) {
		addrs = &everywhere;
		count = 1;
	}
	if (count == ports->addr_count &&
	    (!count || !memcmp(addrs, ports->addrs, count * sizeof(*addrs))))
		return 0;
	copy = calloc(count + 1, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, addrs, count * sizeof(*copy));
	free(ports->addrs);
	ports->addrs = copy;
	ports->addr_count = count;
	ports->addresses_version++;
	HASH_ITER (hh, ports->entries, entry, next)
		pending_add(ports, entry);
	return 0;
}

static struct entry *entry_new(struct service_health_ports *ports, const char *key, size_t size)
{
	struct entry *entry = calloc(1, sizeof(*entry) + size + 1);
	bool no_memory = false;

	if (!entry)
		return NULL;
	memcpy(entry->namespace_, key, size);
	entry->name = entry->namespace_ + strlen(entry->namespace_) + 1;
	HASH_ADD(hh, ports->entries, namespace_, size, entry);
	if (no_memory)
		free(take_ptr(entry));
	return entry;
}

int service_health_ports_plan(struct service_health_ports *ports, const char *namespace_,
			      const char *name, const struct planned_health_check *check)
{
	const struct planned_health_check none = {};
	char key[2 * NAME_SIZE];
	/* Both names with a NUL between them; the final NUL does not count. */
	size_t size = (size_t)snprintf(key, sizeof(key), "%s%c%s", namespace_, '\0', name);
	struct entry *entry;

	check = check ? check : &none;
	HASH_FIND(hh, ports->entries, key, size, entry);
	if (!entry && !check->port)
		return 0;
	if (!entry)
		entry = entry_new(ports, key, size);
	if (!entry)
		return -ENOMEM;
	if (entry->check.port != check->port) {
		entry->is_complaint_made = false;
		pending_add(ports, entry);
	}
	entry->check = *check;
	return 0;
}

static struct listening *place_find(struct listening *places, size_t count,
				    const struct ip_addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		if (address_equal(&places[i].addr, addr))
			return &places[i];
	}
	return NULL;
}

/* Closes the listeners at other ports or addresses than planned; keeps the rest. */
static void entry_close_unplanned(struct service_health_ports *ports, struct entry *entry)
{
	size_t count = ports->addr_count;
	struct listening *places, *kept;

	if (entry->port != entry->check.port)
		entry_release(ports, entry);
	if (!entry->check.port ||
	    (entry->places && entry->addresses_version == ports->addresses_version))
		return;
	places = calloc(count + 1, sizeof(*places));
	for (size_t i = 0; places && i < count; i++) {
		places[i].addr = ports->addrs[i];
		kept = place_find(entry->places, entry->place_count, &places[i].addr);
		if (kept)
			places[i].listener = take_ptr(kept->listener);
	}
	places_close(entry);
	entry->places = places;
	entry->place_count = places ? count : 0;
	entry->addresses_version = ports->addresses_version;
}

/* Claims the planned port. Returns 0, -ENOMEM, or -EADDRINUSE if another Service owns it. */
static int entry_claim_port(struct service_health_ports *ports, struct entry *entry)
{
	struct entry *owner;
	bool no_memory = false;

	if (entry->port)
		return 0;
	HASH_FIND(hh_port, ports->by_port, &entry->check.port, sizeof(entry->port), owner);
	if (owner)
		return -EADDRINUSE;
	entry->port = entry->check.port;
	HASH_ADD(hh_port, ports->by_port, port, sizeof(entry->port), entry);
	if (no_memory)
		entry->port = 0;
	return no_memory ? -ENOMEM : 0;
}

/* Opens the missing listeners. Returns 0 or the last error. */
static int entry_open(struct service_health_ports *ports, struct entry *entry)
{
	const struct ip_addr *addr;
	int err, failed;

	if (!entry->places)
		return -ENOMEM;
	failed = entry_claim_port(ports, entry);
	for (size_t i = 0; entry->port && i < entry->place_count; i++) {
		if (entry->places[i].listener)
			continue;
		addr = &entry->places[i].addr;
		err = port_listener_open(ports->server,
					 address_equal(addr, &everywhere) ? NULL : addr,
					 entry->port, &entry->places[i].listener);
		if (err)
			failed = err;
	}
	return failed;
}

/* Logs the first failure, and has an Event posted. */
static void failure_report(struct service_health_ports *ports, struct entry *entry, int err)
{
	char note[NOTE_SIZE];

	if (entry->is_complaint_made)
		return;
	entry->is_complaint_made = true;
	log_warning("cannot answer health checks of Service %s/%s at port %u: %s; trying again "
		    "every %d s",
		    entry->namespace_, entry->name, entry->check.port, strerror(-err),
		    HTTP_BIND_RETRY_MS / 1000);
	(void)snprintf(note, sizeof(note),
		       "node %s failed to start healthcheck \"%s/%s\" on port %u: %s",
		       ports->options.node_name, entry->namespace_, entry->name, entry->check.port,
		       strerror(-err));
	ports->options.failed(entry->namespace_, entry->name, note, ports->options.context);
}

/* Opens the listeners of a pending entry, or removes the entry. */
static void entry_apply(struct service_health_ports *ports, struct entry *entry)
{
	int err;

	if (!entry->check.port) {
		entry_free(ports, entry);
		return;
	}
	err = entry_open(ports, entry);
	if (err) {
		failure_report(ports, entry, err);
		return;
	}
	if (entry->is_complaint_made)
		log_info("answering health checks of Service %s/%s at port %u", entry->namespace_,
			 entry->name, entry->port);
	entry->is_complaint_made = false;
	pending_remove(ports, entry);
}

void service_health_ports_apply(struct service_health_ports *ports)
{
	struct entry *entry, *next;

	/* Release first: another Service may take over a port that is released. */
	DL_FOREACH(ports->pending, entry)
	entry_close_unplanned(ports, entry);
	DL_FOREACH_SAFE(ports->pending, entry, next)
	entry_apply(ports, entry);
	if (ports->pending)
		(void)uv_timer_start(&ports->retry, ports_on_retry, HTTP_BIND_RETRY_MS, 0);
	else
		(void)uv_timer_stop(&ports->retry);
}
