/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The addresses that programs know: entries of the map `addresses`, with counts of what needs each.
 * The caller changes the counts and then has the entry follow them (address_set_sync).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "publish/ids.h"
#include "publish/publisher.h"
#include "publish/retirement.h"
#include "publish/shortage.h"

/*
 * What user space knows about an entry of `addresses`, by its index. There is one for each backend,
 * so an IPv4 address takes only 4 bytes. The counts have no limit of their own: each of 65535 ports
 * of an address may have frontends of three protocols, and so may each of many Services that want
 * them.
 */
struct address_record {
	uint32_t addr;          /* an IPv4 address, or an index into `ipv6` */
	uint32_t backends : 18; /* backend ids that have it: 65535 ports of three protocols */
	uint32_t flags : 6;     /* enum address_flag, as they are in the map */
	uint32_t is_node : 1;
	uint32_t is_ipv6 : 1;
	uint32_t vips;       /* frontends that are ClusterIPs */
	uint32_t node_ports; /* ... NodePorts */
	/* ... external or load-balancer IPs, plus Services that leave it alone */
	uint32_t externals;
	uint32_t retired; /* frontends that are gone: their flows may still exist */
};
_Static_assert(sizeof(struct address_record) == 24, "bit fields fill one word");

struct address_set {
	int map;
	struct address_flows *flows; /* the map `address_flows`, mapped; by index */
	uint32_t max;
	struct id_pool ids;
	struct id_index index;
	struct address_record *records; /* by index, as `addresses` has it */
	struct ip_addr *ipv6;           /* IPv6 addresses of records, by ids of `ipv6_ids` */
	struct id_pool ipv6_ids;
	/* Borrowed. */
	struct retirement *retirement;
	struct shortage *shortage;
};

/* Returns 0 or a negative errno; address_set_fini frees what was made in any case. */
int address_set_init(struct address_set *set, const struct publisher_maps *maps,
		     struct retirement *retirement, struct shortage *shortage);
void address_set_fini(struct address_set *set);

/*
 * The index of the address, or 0: it has none, or there is no room for one, which is recorded as a
 * shortage.
 */
uint32_t address_set_find(const struct address_set *set, const struct ip_addr *addr);
uint32_t address_set_get_or_add(struct address_set *set, const struct ip_addr *addr);

/* True if the record is of this address. */
bool address_set_is(const struct address_set *set, uint32_t index, const struct ip_addr *addr);

/*
 * Updates the map to the record's counts; removes the entry when nothing needs it. Returns 0 or a
 * negative errno, which only a new entry can cause.
 */
int address_set_sync(struct address_set *set, uint32_t index);

/* Undoes address_set_get_or_add, if the address has no user. */
void address_set_drop_unused(struct address_set *set, uint32_t index);

/* Frees the index of an address that is gone, when no program looks at it any more. */
void address_set_release_id(struct address_set *set, uint32_t index);

/* True while flows of the address may exist. */
bool address_set_has_flows(const struct address_set *set, uint32_t index, uint64_t now_ns);

/* Adds `change`, 1 or -1, to the count of frontends of that kind at the address. */
void address_set_count_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind,
				int change);

/*
 * Counts a frontend of that kind at the address, or no longer, and updates the map; nothing if the
 * address is 0, a loopback one. Gaining returns 0 or a negative errno, and then nothing is counted.
 */
int address_set_gain_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind);
void address_set_lose_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind);

/*
 * Counts a frontend of that kind as gone, and updates the map. The address waits for the frontend's
 * flows: end that with address_set_end_retired.
 */
void address_set_retire_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind);
void address_set_end_retired(struct address_set *set, uint32_t index);

/*
 * Makes `addrs` the addresses of the node's links. Returns 0 or the first error; what could be
 * written is written in any case.
 */
int address_set_write_node(struct address_set *set, const struct ip_addr *addrs, size_t count);

/* Adopts an entry of an earlier run. Returns 0, or -EINVAL: it cannot be used. */
int address_set_adopt(struct address_set *set, const struct ip_addr *addr,
		      const struct address_info *info);
