/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Publish: makes the maps match the plans, atomically for each service port, and writes only what
 * differs.
 *
 * To change the backends of a service port: write new backends and a new list of slots into entries
 * that no program looks at; swing the slot_range word of `services` with one aligned 64-bit store;
 * retire the old list and the backends that left, which are reused only after a grace period that
 * no running program outlives.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "plan/plan.h"

/* File descriptors and sizes of the maps, borrowed from the datapath. */
struct publisher_maps {
	int frontends, addresses, address_flows, services, slots, backends;
	int service_names, service_stats, unprogrammed, source_ranges, flows, node_ports;
	int far_backends;
	uint32_t services_max, slots_max, backends_max, frontends_max;
	uint32_t addresses_max; /* of both `addresses` and `address_flows` */
};

struct publisher;

/*
 * Adopts what the maps hold: ids, lists and frontends of an earlier run stay as they are until a
 * plan says otherwise. `maps` is copied, its descriptors are borrowed. Logs.
 * Returns 0 or a negative errno.
 */
int publisher_open(const struct publisher_maps *maps, struct publisher **ret_publisher);

/* NULL is fine. The maps keep what they hold. */
void publisher_close(struct publisher *publisher);

/*
 * Makes the maps hold one Service as planned, with all its ports; ports that were programmed before
 * and are not in the plan are retired. `plan` may be NULL: the Service is gone. A service port that
 * does not fit into a map is left as it was (or absent), recorded in `unprogrammed` and logged with
 * its name; the others are unaffected. Returns 0, -ENOSPC if at least one service port did not fit,
 * or another negative errno.
 */
int publisher_apply(struct publisher *publisher, const char *namespace_, const char *name,
		    const struct plan *plan);

/*
 * For a Service that cannot be planned: what an earlier run has published of it is claimed by no
 * plan, and stays all the same.
 */
void publisher_claim(struct publisher *publisher, const char *namespace_, const char *name);

/*
 * To be called after the first complete read of the source: removes everything adopted that no plan
 * has claimed since publisher_open. Until then, nothing adopted is removed for lack of a plan.
 */
void publisher_remove_unclaimed(struct publisher *publisher);

/*
 * Makes `addrs` the addresses of the node's links: they get ADDRESS_NODE, all others lose it. What
 * fits is written in any case. Returns 0 or a negative errno. Logs.
 */
int publisher_write_node_addresses(struct publisher *publisher, const struct ip_addr *addrs,
				   size_t count);

/*
 * Frees retired entries that no program looks at any more and whose flows have ended. The caller
 * guarantees that every program running at `now_ns` (CLOCK_MONOTONIC) has ended. Returns in how
 * many ms, counted from `now_ns`, to wait for programs again and call this; 0: nothing is left to
 * free.
 */
uint64_t publisher_reclaim(struct publisher *publisher, uint64_t now_ns);

/* Called with a Service. */
typedef int (*publisher_service_fn)(const char *namespace_, const char *name, void *context);

/*
 * If something was freed since the last call, calls `fn`, which should have it planned and applied
 * again, for each Service that did not fit. Stops at the first error other than -ENOSPC and returns
 * it.
 */
int publisher_retry_unfitting(struct publisher *publisher, publisher_service_fn fn, void *context);

/* Called with a UDP backend that a service port no longer has; other service ports may have it. */
typedef void (*publisher_departure_fn)(uint32_t service, const struct ip_addr *addr, __be16 port,
				       void *context);

/* Calls `fn` for each such backend since the last call, except those that have come back. */
void publisher_drain_departures(struct publisher *publisher, publisher_departure_fn fn,
				void *context);

/* Why another Service has an address, and what to do, for operators. */
#define TAKEN_RULE                                                                          \
	"Of two Services the one whose ClusterIP or load balancer's address it is has it, " \
	"or else the older one: remove it from one of them"

/* Called with a service port and what of its addresses another Service has: which, and whose. */
typedef void (*publisher_taken_fn)(const struct service_name *name, const char *detail,
				   void *context);

/*
 * To be called after all changes of one wake-up: makes `unprogrammed` say which service ports do
 * not answer at an address because another Service has it. Calls `fn` for each for which that is
 * new. Logs.
 */
void publisher_drain_taken(struct publisher *publisher, publisher_taken_fn fn, void *context);

/* True if clients of the service port may be sent to this UDP backend now. */
bool publisher_serves_udp(const struct publisher *publisher, uint32_t service,
			  const struct ip_addr *addr, __be16 port);

/* True if a UDP frontend was added since the last call. */
bool publisher_poll_new_udp(struct publisher *publisher);

struct publisher_numbers {
	uint32_t service_ports, backends, draining, unused, slots, frontends, addresses,
		source_ranges;
	uint64_t changed_service_ports; /* since open */
	uint64_t refused_service_ports; /* since open */
	uint32_t unfitting;             /* service ports that do not fit now */
};
void publisher_numbers(const struct publisher *publisher, struct publisher_numbers *ret_numbers);
