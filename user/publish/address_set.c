/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "fairlead/atomic.h"
#include "publish/publisher_parts.h"

#define ADDRESS_ALL                                                              \
	(ADDRESS_CLUSTER_IP | ADDRESS_RETIRED | ADDRESS_BACKEND | ADDRESS_NODE | \
	 ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS)

/* The limits of a record's counts. */
#define CLUSTER_IPS_MAX ((1U << 13) - 1)
#define FRONTENDS_MAX   ((1U << 19) - 1)

static uint32_t hash_of(const struct ip_addr *addr)
{
	return lookup_hash(addr, sizeof(*addr));
}

static struct ip_addr address_of(const struct publisher *publisher,
				 const struct address_record *record)
{
	return record->is_ipv6 ? publisher->ipv6[record->addr] : address_from_ipv4(record->addr);
}

/* There are as many IPv6 ids as address ids, so taking one cannot fail. */
static struct address_record record_make(struct publisher *publisher, const struct ip_addr *addr)
{
	struct address_record record = {.is_ipv6 = !address_is_ipv4(addr)};

	if (record.is_ipv6) {
		record.addr = id_pool_alloc(&publisher->ipv6_ids);
		publisher->ipv6[record.addr] = *addr;
	} else {
		memcpy(&record.addr, addr->bytes + sizeof(*addr) - sizeof(record.addr),
		       sizeof(record.addr));
	}
	return record;
}

bool address_is(const struct publisher *publisher, uint32_t index, const struct ip_addr *addr)
{
	const struct ip_addr its = address_of(publisher, &publisher->address_records[index]);

	return address_equal(&its, addr);
}

uint32_t address_find(const struct publisher *publisher, const struct ip_addr *addr)
{
	uint32_t index = id_index_first(&publisher->address_index, hash_of(addr));

	while (index && !address_is(publisher, index, addr))
		index = id_index_next(&publisher->address_index, index);
	return index;
}

uint32_t address_take(struct publisher *publisher, const struct ip_addr *addr)
{
	uint32_t index = address_find(publisher, addr);

	if (index)
		return index;
	index = id_pool_alloc(&publisher->address_ids);
	if (!index)
		return 0;
	publisher->address_records[index] = record_make(publisher, addr);
	*address_flows_at(publisher, index) = (struct address_flows){};
	id_index_add(&publisher->address_index, hash_of(addr), index);
	return index;
}

bool address_has_flows(const struct publisher *publisher, uint32_t index, uint64_t now_ns)
{
	const struct address_flows *busy = address_flows_at(publisher, index);

	return LOAD_RELAXED(busy->confirmed) ||
	       LOAD_RELAXED(busy->new_until_s) >= now_ns / NSEC_PER_SEC;
}

/*
 * A VIP whose frontends are gone is kept as retired, and a backend's address keeps its flag, while
 * flows may need them.
 */
static uint32_t flags_of(const struct address_record *record)
{
	uint32_t flags = 0;

	if (record->vips)
		flags |= ADDRESS_CLUSTER_IP;
	if (record->externals)
		flags |= ADDRESS_EXTERNAL;
	if (record->node_ports)
		flags |= ADDRESS_NODE_PORTS;
	if (!flags && record->retired)
		flags |= ADDRESS_RETIRED;
	if (record->backends)
		flags |= ADDRESS_BACKEND;
	if (record->is_node)
		flags |= ADDRESS_NODE;
	return flags;
}

/* Removes the entry from the map; the index is freed when no program can hold it any more. */
static void address_remove(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->address_records[index];
	const struct ip_addr addr = address_of(publisher, record);
	bool was_seen = record->flags;

	if (was_seen)
		(void)bpf_map_delete_elem(publisher->maps.addresses, &addr);
	id_index_remove(&publisher->address_index, hash_of(&addr), index);
	if (record->is_ipv6)
		id_pool_free(&publisher->ipv6_ids, record->addr);
	*record = (struct address_record){};
	if (was_seen)
		retire(publisher, RETIRED_ADDRESS, index, 1);
	else
		id_pool_free(&publisher->address_ids, index);
}

int address_settle(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->address_records[index];
	struct address_info info = {.flags = flags_of(record), .index = index};
	struct ip_addr addr;

	if (!info.flags) {
		address_remove(publisher, index);
		return 0;
	}
	if (info.flags == record->flags)
		return 0;
	addr = address_of(publisher, record);
	if (bpf_map_update_elem(publisher->maps.addresses, &addr, &info, BPF_ANY))
		return errno == E2BIG ? publisher_is_full(publisher, FULL_ADDRESSES) : -errno;
	record->flags = info.flags & ADDRESS_ALL;
	return 0;
}

void address_drop_unused(struct publisher *publisher, uint32_t index)
{
	if (!flags_of(&publisher->address_records[index]))
		address_remove(publisher, index);
}

void address_count_frontend(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
			    int change)
{
	struct address_record *record = &publisher->address_records[index];

	if (kind == FRONTEND_CLUSTER_IP)
		record->vips = (record->vips + (uint32_t)change) & CLUSTER_IPS_MAX;
	else if (kind == FRONTEND_NODE_PORT)
		record->node_ports = (record->node_ports + (uint32_t)change) & FRONTENDS_MAX;
	else
		record->externals = (record->externals + (uint32_t)change) & FRONTENDS_MAX;
}

bool address_can_count(const struct publisher *publisher, uint32_t index, enum frontend_kind kind)
{
	const struct address_record *record = &publisher->address_records[index];

	if (kind == FRONTEND_CLUSTER_IP)
		return record->vips < CLUSTER_IPS_MAX;
	return (kind == FRONTEND_NODE_PORT ? record->node_ports : record->externals) <
	       FRONTENDS_MAX;
}

void address_release(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
		     uint32_t service)
{
	struct address_record *record = &publisher->address_records[index];

	address_count_frontend(publisher, index, kind, -1);
	if (record->retired == FRONTENDS_MAX) {
		(void)address_settle(publisher, index);
		return;
	}
	record->retired++;
	(void)address_settle(publisher, index);
	publisher->service_uses[service]++;
	retire_when_idle(publisher, RETIRED_SERVICE, service, index);
}

int address_adopt(struct publisher *publisher, const struct ip_addr *addr,
		  const struct address_info *info)
{
	uint32_t index = info->index;
	struct address_record *record;

	if (!info->flags || info->flags & ~ADDRESS_ALL ||
	    !id_pool_reserve(&publisher->address_ids, index))
		return -EINVAL;
	record = &publisher->address_records[index];
	*record = record_make(publisher, addr);
	record->flags = info->flags & ADDRESS_ALL;
	record->is_node = (info->flags & ADDRESS_NODE) != 0;
	id_index_add(&publisher->address_index, hash_of(addr), index);
	return 0;
}
