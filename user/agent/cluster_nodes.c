/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/cluster_nodes.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "fairlead/types.h"

struct node_address_entry {
	struct ip_addr addr;
	enum cluster_node value;
};

struct node_set {
	struct node_address_entry *entries;
	size_t count, room;
	const char *own_name;
};

static void set_free(const struct node_set *set)
{
	free(set->entries);
}

static int entry_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

static int set_add(struct node_set *set, const struct ip_addr *addr, enum cluster_node value)
{
	int err = array_reserve(&set->entries, &set->room, set->count, sizeof(*set->entries));

	if (err)
		return err;
	set->entries[set->count++] = (struct node_address_entry){.addr = *addr, .value = value};
	return 0;
}

static int set_add_node(const struct object *object, void *context)
{
	struct node_set *set = context;
	bool is_own = !strcmp(object->name, set->own_name);
	int err;

	for (size_t i = 0; i < object->node.internal_ip_count; i++) {
		err = set_add(set, &object->node.internal_ips[i],
			      is_own ? CLUSTER_NODE_THIS : CLUSTER_NODE_OTHER);
		if (err)
			return err;
	}
	return 0;
}

static bool set_has(const void *addr, const void *context)
{
	const struct node_set *set = context;

	return set->count &&
	       bsearch(addr, set->entries, set->count, sizeof(*set->entries), entry_compare);
}

static int set_write(int map, const struct node_set *set)
{
	enum cluster_node value;

	for (size_t i = 0; i < set->count; i++) {
		const struct node_address_entry *entry = &set->entries[i];

		if (!bpf_map_lookup_elem(map, &entry->addr, &value) && value == entry->value)
			continue;
		if (bpf_map_update_elem(map, &entry->addr, &entry->value, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* The Node's first address of each family, as kubelet and kube-proxy choose it. */
static bool own_address_write(int map, const struct object *node)
{
	struct link_source own = {};
	const __u32 zero = 0;

	for (size_t i = 0; node && i < node->node.internal_ip_count; i++) {
		const struct ip_addr *addr = &node->node.internal_ips[i];
		struct ip_addr *place = address_is_ipv4(addr) ? &own.ipv4 : &own.ipv6;

		if (address_is_zero(place))
			*place = *addr;
	}
	if (bpf_map_update_elem(map, &zero, &own, BPF_ANY))
		(void)log_err(-errno, "cannot write the node's own address, continuing");
	return !address_is_zero(&own.ipv4) || !address_is_zero(&own.ipv6);
}

static int nodes_write(int map, struct model *model, const char *node_name)
{
	auto_cleanup(set_free) struct node_set set = {.own_name = node_name};
	int err = model_each(model, OBJECT_NODE, set_add_node, &set);

	if (err)
		return err;
	if (set.count)
		qsort(set.entries, set.count, sizeof(*set.entries), entry_compare);
	err = set_write(map, &set);
	if (err)
		return err;
	return model_is_listed(model, OBJECT_NODE) ? map_keep_only(map, set_has, &set) : 0;
}

bool cluster_nodes_write(int nodes, int address, struct model *model, const char *node_name)
{
	int err = nodes_write(nodes, model, node_name);

	if (err)
		(void)log_err(err, "cannot write the cluster's nodes, continuing: packets that "
				   "other nodes encapsulate are dropped");
	return own_address_write(address, model_node(model, node_name));
}
