/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "address.h"
#include "publish/publisher.h"

static uint32_t hash_of(const struct ip_addr *addr)
{
	uint32_t hash;

	HASH_VALUE(addr, sizeof(*addr), hash);
	return hash;
}

uint32_t address_find(const struct publisher *publisher, const struct ip_addr *addr)
{
	uint32_t index = id_index_first(&publisher->address_index, hash_of(addr));

	while (index && !address_equal(&publisher->address_records[index].addr, addr))
		index = id_index_next(&publisher->address_index, index);
	return index;
}

uint32_t address_take(struct publisher *publisher, const struct ip_addr *addr, int *ret_err)
{
	uint32_t index = address_find(publisher, addr);

	if (index)
		return index;
	index = id_pool_take(&publisher->address_ids);
	if (!index) {
		*ret_err = -ENOSPC;
		return 0;
	}
	publisher->address_records[index] = (struct address_record){.addr = *addr};
	publisher->address_flows[index] = (struct address_flows){};
	id_index_add(&publisher->address_index, hash_of(addr), index);
	return index;
}

bool address_has_flows(const struct publisher *publisher, uint32_t index, uint64_t now_ns)
{
	const struct address_flows *busy = &publisher->address_flows[index];

	return __atomic_load_n(&busy->confirmed, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&busy->new_until_s, __ATOMIC_RELAXED) >= now_ns / NSEC_PER_SEC;
}

/* Flows keep what an address was: the VIP of a Service that went, a backend that left. */
static uint32_t flags_of(const struct address_record *record)
{
	uint32_t flags = 0;

	if (record->vips)
		flags |= ADDRESS_CLUSTER_IP;
	else if (record->was_vip)
		flags |= ADDRESS_RETIRED;
	if (record->backends)
		flags |= ADDRESS_BACKEND;
	if (record->is_node)
		flags |= ADDRESS_NODE;
	return flags;
}

/* The entry is gone from the map; its index follows when no program can hold it any more. */
static void address_remove(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->address_records[index];

	if (record->flags)
		(void)bpf_map_delete_elem(publisher->maps.addresses, &record->addr);
	id_index_remove(&publisher->address_index, hash_of(&record->addr), index);
	*record = (struct address_record){};
	retire(publisher, RETIRED_ADDRESS_INDEX, index, 1);
}

int address_settle(struct publisher *publisher, uint32_t index)
{
	struct address_record *record = &publisher->address_records[index];
	struct address_info info = {.flags = flags_of(record), .index = index};

	if (!info.flags) {
		address_remove(publisher, index);
		return 0;
	}
	if (info.flags == record->flags)
		return 0;
	if (bpf_map_update_elem(publisher->maps.addresses, &record->addr, &info, BPF_ANY))
		return errno == E2BIG ? -ENOSPC : -errno;
	record->flags = info.flags;
	return 0;
}

void address_drop_unused(struct publisher *publisher, uint32_t index)
{
	if (!flags_of(&publisher->address_records[index]))
		address_remove(publisher, index);
}

void address_forget_flows(struct publisher *publisher, uint32_t index)
{
	publisher->address_records[index].was_vip = false;
	(void)address_settle(publisher, index);
}

int address_adopt(struct publisher *publisher, const struct ip_addr *addr,
		  const struct address_info *info)
{
	uint32_t index = info->index;

	if (!id_pool_reserve(&publisher->address_ids, index))
		return -EINVAL;
	publisher->address_records[index] = (struct address_record){
		.addr = *addr,
		.flags = info->flags,
		.is_node = info->flags & ADDRESS_NODE,
		.was_vip = info->flags & (ADDRESS_CLUSTER_IP | ADDRESS_RETIRED),
	};
	id_index_add(&publisher->address_index, hash_of(addr), index);
	return 0;
}
