/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/grow.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "cleanup.h"
#include "fairlead/types.h"
#include "log.h"

bool grow_is_possible(const char *map_name)
{
	static const char *const names[] = {"frontends", "addresses",     "address_flows",
					    "services",  "service_names", "service_stats",
					    "slots",     "backends",      "source_ranges"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(map_name, names[i]))
			return true;
	}
	return false;
}

static int copy_entry(int from, int to, const void *key, void *value)
{
	if (bpf_map_lookup_elem(from, key, value))
		return errno == ENOENT ? 0 : -errno;
	return bpf_map_update_elem(to, key, value, BPF_ANY) ? -errno : 0;
}

static int copy_array(int from, int to, const struct bpf_map_info *info, void *value)
{
	int err = 0;

	for (uint32_t index = 0; !err && index < info->max_entries; index++)
		err = copy_entry(from, to, &index, value);
	return err;
}

static int copy_hash(int from, int to, const struct bpf_map_info *info, void *value)
{
	auto_cleanup(cleanup_free) void *key = calloc(1, info->key_size);
	bool is_first = true;
	int err;

	if (!key)
		return -ENOMEM;
	while (!bpf_map_get_next_key(from, is_first ? NULL : key, key)) {
		is_first = false;
		err = copy_entry(from, to, key, value);
		if (err)
			return err;
	}
	return errno == ENOENT ? 0 : -errno;
}

int grow_copy(const char *map_name, int from, int to)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	auto_cleanup(cleanup_free) void *value = NULL;
	int cpus = libbpf_num_possible_cpus();

	if (!grow_is_possible(map_name) || cpus < 0)
		return -EINVAL;
	if (bpf_obj_get_info_by_fd(from, &info, &info_size))
		return -errno;
	/* A per-CPU value is one for each CPU, each rounded up to 8 bytes. */
	value = calloc((size_t)cpus, (info.value_size + 7U) / 8 * 8);
	if (!value)
		return -ENOMEM;
	if (info.type == BPF_MAP_TYPE_HASH || info.type == BPF_MAP_TYPE_LPM_TRIE)
		return copy_hash(from, to, &info, value);
	return copy_array(from, to, &info, value);
}

static void count_address(int addresses, int address_flows, const struct ip_addr *addr)
{
	struct address_info info;
	struct address_flows busy;

	if (bpf_map_lookup_elem(addresses, addr, &info) || !info.index ||
	    bpf_map_lookup_elem(address_flows, &info.index, &busy))
		return;
	busy.confirmed++;
	(void)bpf_map_update_elem(address_flows, &info.index, &busy, BPF_ANY);
}

static void clear_counts(int addresses, int address_flows)
{
	struct address_flows busy;
	struct address_info info;
	struct ip_addr key;
	bool is_first = true;

	while (!bpf_map_get_next_key(addresses, is_first ? NULL : &key, &key)) {
		is_first = false;
		if (bpf_map_lookup_elem(addresses, &key, &info) || !info.index ||
		    bpf_map_lookup_elem(address_flows, &info.index, &busy))
			continue;
		busy.confirmed = 0;
		(void)bpf_map_update_elem(address_flows, &info.index, &busy, BPF_ANY);
	}
}

void grow_recount(int flows, int addresses, int address_flows)
{
	struct bpf_map_info map_info = {};
	__u32 info_size = sizeof(map_info);
	auto_cleanup(cleanup_free) struct flow *flow = NULL;
	struct flow_key key;
	bool is_first = true;

	if (bpf_obj_get_info_by_fd(flows, &map_info, &info_size))
		return;
	flow = calloc(1, map_info.value_size);
	if (!flow)
		return;
	clear_counts(addresses, address_flows);
	while (!bpf_map_get_next_key(flows, is_first ? NULL : &key, &key)) {
		is_first = false;
		if (key.direction != FLOW_ORIGINAL || bpf_map_lookup_elem(flows, &key, flow))
			continue;
		count_address(addresses, address_flows, &key.dst);
		count_address(addresses, address_flows, &flow->new_dst);
	}
}
