/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/exhausted_ports.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "fairlead/limits.h"

#define SCAN_MS 10000

struct exhausted_ports {
	uv_timer_t timer;
	int exhausted, service_names;
	struct rate_limit_entry logged[EXHAUSTED_MAX]; /* by service port; how many flows */
};

__u64 exhausted_ports_unlogged(struct rate_limit_entry *entry, const struct exhausted *seen,
			       uint64_t now_ns)
{
	/* The map's entry was recreated, for another service port or after a pause. */
	__u64 before = seen->count < entry->count ? 0 : entry->count;
	__u64 unlogged = seen->count - before;

	if (!unlogged || rate_limit_is_recent(entry, now_ns))
		return 0;
	entry->count = seen->count;
	entry->logged_ns = now_ns;
	return unlogged;
}

static void exhausted_ports_log(const struct exhausted_ports *ports, __u32 service, __u64 count)
{
	struct service_name name = {};

	if (bpf_map_lookup_elem(ports->service_names, &service, &name)) {
		log_warning(
			"%llu new flows of a service that has been removed since were dropped: no "
			"source port was left for them",
			(unsigned long long)count);
		return;
	}
	log_warning(
		"%llu new flows of service %.63s/%.63s%s%.63s (%s) were dropped: no source port "
		"was left to tell them from others at the same endpoint; more endpoints or a "
		"wider --source-ports help",
		(unsigned long long)count, name.namespace_, name.name, *name.port_name ? ":" : "",
		name.port_name, proto_name(name.proto));
}

struct exhausted_scan {
	struct exhausted_ports *ports;
	uint64_t now_ns; /* of the event loop's clock */
	__u32 now_s;     /* of the programs' clock */
};

static void exhausted_ports_look(const void *key, const void *value, void *context)
{
	const struct exhausted_scan *scan = context;
	const struct exhausted *seen = value;
	struct rate_limit_entry *entry;
	__u32 service;
	__u64 count;

	memcpy(&service, key, sizeof(service));
	entry = rate_limit_find(scan->ports->logged, EXHAUSTED_MAX, &service, sizeof(service));
	rate_limit_assign(entry, &service, sizeof(service));
	/* A new agent does not log what happened long before its start. */
	if (!entry->logged_ns && scan->now_s - seen->last_s > RATE_LIMIT_NS / NS_PER_S) {
		entry->count = seen->count;
		return;
	}
	count = exhausted_ports_unlogged(entry, seen, scan->now_ns);
	if (count)
		exhausted_ports_log(scan->ports, service, count);
}

static void exhausted_ports_scan(uv_timer_t *timer)
{
	struct exhausted_scan scan = {
		.ports = timer->data,
		.now_ns = uv_hrtime(),
		.now_s = (__u32)(clock_now_ns() / NS_PER_S),
	};

	(void)map_each(scan.ports->exhausted, exhausted_ports_look, &scan);
}

static void exhausted_ports_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

int exhausted_ports_open(uv_loop_t *loop, int exhausted, int service_names,
			 struct exhausted_ports **ret_ports)
{
	struct exhausted_ports *ports = calloc(1, sizeof(*ports));

	if (!ports)
		return log_err(-ENOMEM, "cannot watch for flows without a source port");
	ports->exhausted = exhausted;
	ports->service_names = service_names;
	(void)uv_timer_init(loop, &ports->timer);
	ports->timer.data = ports;
	uv_unref((uv_handle_t *)&ports->timer);
	(void)uv_timer_start(&ports->timer, exhausted_ports_scan, SCAN_MS, SCAN_MS);
	*ret_ports = ports;
	return 0;
}

void exhausted_ports_close(struct exhausted_ports *ports)
{
	if (ports)
		uv_close((uv_handle_t *)&ports->timer, exhausted_ports_on_closed);
}
