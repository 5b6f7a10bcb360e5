/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/address_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/lookup.h"
#include "base/mapped_array.h"
#include "fairlead/atomic.h"

#define ADDRESS_ALL                                                              \
	(ADDRESS_CLUSTER_IP | ADDRESS_RETIRED | ADDRESS_BACKEND | ADDRESS_NODE | \
	 ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS)

int address_set_init(struct address_set *set, const struct publisher_maps *maps,
		     struct retirement *retirement, struct shortage *shortage)
{
	*set = (struct address_set){
		.map = maps->addresses,
		.max = maps->addresses_max,
		.retirement = retirement,
		.shortage = shortage,
	};
	set->flows = mapped_array_of(maps->address_flows, set->max, sizeof(*set->flows));
	if (!set->flows)
		return -errno;
	set->records = mapped_array_new(set->max, sizeof(*set->records));
	set->ipv6 = mapped_array_new(set->max, sizeof(*set->ipv6));
	if (!set->records || !set->ipv6 || id_pool_init(&set->ids, set->max) ||
	    id_pool_init(&set->ipv6_ids, set->max) || id_index_init(&set->index, set->max))
		return -ENOMEM;
	return 0;
}

void address_set_fini(struct address_set *set)
{
	mapped_array_free(set->flows, set->max, sizeof(*set->flows));
	mapped_array_free(set->records, set->max, sizeof(*set->records));
	mapped_array_free(set->ipv6, set->max, sizeof(*set->ipv6));
	id_pool_fini(&set->ids);
	id_pool_fini(&set->ipv6_ids);
	id_index_fini(&set->index);
}

static uint32_t hash_of(const struct ip_addr *addr)
{
	return lookup_hash(addr, sizeof(*addr));
}

static struct ip_addr address_of(const struct address_set *set, const struct address_record *record)
{
	return record->is_ipv6 ? set->ipv6[record->addr] : address_from_ipv4(record->addr);
}

/* There are as many IPv6 ids as address ids, so allocating one cannot fail. */
static struct address_record record_make(struct address_set *set, const struct ip_addr *addr)
{
	struct address_record record = {.is_ipv6 = !address_is_ipv4(addr)};

	if (record.is_ipv6) {
		record.addr = id_pool_alloc(&set->ipv6_ids);
		set->ipv6[record.addr] = *addr;
	} else {
		memcpy(&record.addr, addr->bytes + sizeof(*addr) - sizeof(record.addr),
		       sizeof(record.addr));
	}
	return record;
}

bool address_set_is(const struct address_set *set, uint32_t index, const struct ip_addr *addr)
{
	const struct ip_addr its = address_of(set, &set->records[index]);

	return address_equal(&its, addr);
}

uint32_t address_set_find(const struct address_set *set, const struct ip_addr *addr)
{
	uint32_t index = id_index_first(&set->index, hash_of(addr));

	while (index && !address_set_is(set, index, addr))
		index = id_index_next(&set->index, index);
	return index;
}

uint32_t address_set_get_or_add(struct address_set *set, const struct ip_addr *addr)
{
	uint32_t index = address_set_find(set, addr);

	if (index)
		return index;
	index = id_pool_alloc(&set->ids);
	if (!index) {
		(void)shortage_record(set->shortage, FULL_ADDRESSES);
		return 0;
	}
	set->records[index] = record_make(set, addr);
	set->flows[index] = (struct address_flows){};
	id_index_add(&set->index, hash_of(addr), index);
	return index;
}

bool address_set_has_flows(const struct address_set *set, uint32_t index, uint64_t now_ns)
{
	const struct address_flows *busy = &set->flows[index];

	return LOAD_RELAXED(busy->confirmed) ||
	       LOAD_RELAXED(busy->new_until_s) >= now_ns / NS_PER_S;
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
static void address_remove(struct address_set *set, uint32_t index)
{
	struct address_record *record = &set->records[index];
	const struct ip_addr addr = address_of(set, record);
	bool was_seen = record->flags;

	if (was_seen)
		(void)bpf_map_delete_elem(set->map, &addr);
	id_index_remove(&set->index, hash_of(&addr), index);
	if (record->is_ipv6)
		id_pool_free(&set->ipv6_ids, record->addr);
	*record = (struct address_record){};
	if (was_seen)
		retire(set->retirement, RETIRED_ADDRESS, index, 1);
	else
		id_pool_free(&set->ids, index);
}

int address_set_sync(struct address_set *set, uint32_t index)
{
	struct address_record *record = &set->records[index];
	struct address_info info = {.flags = flags_of(record), .index = index};
	struct ip_addr addr;

	if (!info.flags) {
		address_remove(set, index);
		return 0;
	}
	if (info.flags == record->flags)
		return 0;
	addr = address_of(set, record);
	if (bpf_map_update_elem(set->map, &addr, &info, BPF_ANY))
		return errno == E2BIG ? shortage_record(set->shortage, FULL_ADDRESSES) : -errno;
	record->flags = info.flags & ADDRESS_ALL;
	return 0;
}

void address_set_drop_unused(struct address_set *set, uint32_t index)
{
	if (!flags_of(&set->records[index]))
		address_remove(set, index);
}

void address_set_release_id(struct address_set *set, uint32_t index)
{
	id_pool_free(&set->ids, index);
}

void address_set_count_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind,
				int change)
{
	struct address_record *record = &set->records[index];

	if (kind == FRONTEND_CLUSTER_IP)
		record->vips += (uint32_t)change;
	else if (kind == FRONTEND_NODE_PORT)
		record->node_ports += (uint32_t)change;
	else
		record->externals += (uint32_t)change;
}

int address_set_gain_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind)
{
	int err;

	if (!index)
		return 0;
	address_set_count_frontend(set, index, kind, 1);
	err = address_set_sync(set, index);
	if (err)
		address_set_count_frontend(set, index, kind, -1);
	return err;
}

void address_set_lose_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind)
{
	if (!index)
		return;
	address_set_count_frontend(set, index, kind, -1);
	(void)address_set_sync(set, index);
}

void address_set_retire_frontend(struct address_set *set, uint32_t index, enum frontend_kind kind)
{
	address_set_count_frontend(set, index, kind, -1);
	set->records[index].retired++;
	(void)address_set_sync(set, index);
}

void address_set_end_retired(struct address_set *set, uint32_t index)
{
	set->records[index].retired--;
	(void)address_set_sync(set, index);
}

static int node_address_add(struct address_set *set, const struct ip_addr *addr)
{
	uint32_t index = address_set_get_or_add(set, addr);
	int err;

	if (!index)
		return -ENOSPC;
	set->records[index].is_node = true;
	err = address_set_sync(set, index);
	if (err) {
		set->records[index].is_node = false;
		address_set_drop_unused(set, index);
	}
	return err;
}

int address_set_write_node(struct address_set *set, const struct ip_addr *addrs, size_t count)
{
	int err, first = 0;

	for (uint32_t i = 1; i < set->ids.next_fresh; i++)
		set->records[i].is_node = false;
	for (size_t i = 0; i < count; i++) {
		err = node_address_add(set, &addrs[i]);
		first = first ? first : err;
	}
	for (uint32_t i = 1; i < set->ids.next_fresh; i++) {
		const struct address_record *record = &set->records[i];

		if (record->flags & ADDRESS_NODE && !record->is_node)
			(void)address_set_sync(set, i);
	}
	return first;
}

int address_set_adopt(struct address_set *set, const struct ip_addr *addr,
		      const struct address_info *info)
{
	uint32_t index = info->index;
	struct address_record *record;

	if (!info->flags || info->flags & ~ADDRESS_ALL || !id_pool_reserve(&set->ids, index))
		return -EINVAL;
	record = &set->records[index];
	*record = record_make(set, addr);
	record->flags = info->flags & ADDRESS_ALL;
	record->is_node = (info->flags & ADDRESS_NODE) != 0;
	id_index_add(&set->index, hash_of(addr), index);
	return 0;
}
