/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/near_clients.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"
#include "model/cidr.h"

/* One range per family: of several, only the first counts. */
struct near_set {
	struct cidr ranges[2];
	size_t count;
};

struct link_near near_links_of(const struct traffic_options *traffic)
{
	switch (traffic->local_mode) {
	case LOCAL_BRIDGE_INTERFACE:
		return (struct link_near){.bridge = traffic->bridge_interface};
	case LOCAL_INTERFACE_NAME_PREFIX:
		return (struct link_near){.name_prefix = traffic->interface_name_prefix};
	case LOCAL_CLUSTER_CIDR:
	case LOCAL_NODE_CIDR:
		break;
	}
	return (struct link_near){};
}

static void set_add(struct near_set *set, const struct cidr *cidrs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool is_first = true;

		for (size_t j = 0; j < set->count; j++)
			is_first &= cidr_family(&set->ranges[j]) != cidr_family(&cidrs[i]);
		if (is_first && set->count < 2)
			set->ranges[set->count++] = cidrs[i];
	}
}

static bool set_has(const void *key, const void *context)
{
	const struct near_range *range = key;
	const struct near_set *set = context;

	for (size_t i = 0; i < set->count; i++) {
		if (set->ranges[i].prefix == range->prefix &&
		    address_equal(&set->ranges[i].addr, &range->addr))
			return true;
	}
	return false;
}

void near_ranges_write(int map, const struct traffic_options *traffic,
		       const struct node_object *node)
{
	struct near_set set = {};
	const __u32 value = 1;

	if (traffic->local_mode == LOCAL_CLUSTER_CIDR)
		set_add(&set, traffic->cluster_cidrs, traffic->cluster_cidr_count);
	else if (traffic->local_mode == LOCAL_NODE_CIDR && node)
		set_add(&set, node->pod_cidrs, node->pod_cidr_count);
	for (size_t i = 0; i < set.count; i++) {
		const struct near_range key = {.prefix = set.ranges[i].prefix,
					       .addr = set.ranges[i].addr};

		if (bpf_map_update_elem(map, &key, &value, BPF_ANY))
			(void)log_err(-errno, "cannot write which clients are near, continuing: "
					      "policy Local treats them as far ones");
	}
	(void)map_keep_only(map, set_has, &set);
}
