/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/netlink/address_table.h"

#include <errno.h>
#include <limits.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/uthash.h"

struct address_key {
	struct ip_addr addr;
	int ifindex;
};

struct address_entry {
	struct address_key key;
	uint8_t prefix;
	uint8_t scope;
	uint32_t flags;
	unsigned long order; /* order of arrival: the kernel lists a link's primary address first */
	unsigned int generation;
	UT_hash_handle hh;
};

/*
 * Flags of an address that must not be a source address: not usable yet or no longer, or secondary.
 */
#define FLAGS_UNFIT \
	(IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TEMPORARY | IFA_F_SECONDARY)

/* The last bits of an address in a network of this node and one neighbour, a /30 or /126. */
#define NEIGHBOUR_BITS 2

static bool address_is_wanted(const struct ip_addr *addr)
{
	struct in6_addr ipv6;

	if (address_is_ipv4(addr))
		return addr->bytes[12] != IN_LOOPBACKNET;
	memcpy(&ipv6, addr->bytes, sizeof(ipv6));
	return !IN6_IS_ADDR_LOOPBACK(&ipv6) && !IN6_IS_ADDR_LINKLOCAL(&ipv6);
}

static struct address_entry *entry_find(const struct address_table *table,
					const struct link_address *address)
{
	const struct address_key key = {.addr = address->addr, .ifindex = address->ifindex};
	struct address_entry *entry;

	HASH_FIND(hh, table->entries, &key, sizeof(key), entry);
	return entry;
}

static void entry_remove(struct address_table *table, struct address_entry *entry)
{
	HASH_DEL(table->entries, entry);
	free(entry);
}

void address_table_fini(struct address_table *table)
{
	struct address_entry *entry, *next;

	HASH_ITER (hh, table->entries, entry, next)
		entry_remove(table, entry);
	free(table->addresses);
	free(table->owners);
	*table = (struct address_table){};
}

int address_table_add(struct address_table *table, const struct link_address *address)
{
	struct address_entry *entry;
	bool no_memory = false;

	if (!address_is_wanted(&address->addr))
		return 0;
	entry = entry_find(table, address);
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return -ENOMEM;
		entry->key.addr = address->addr;
		entry->key.ifindex = address->ifindex;
		entry->order = table->next_order++;
		HASH_ADD(hh, table->entries, key, sizeof(entry->key), entry);
		if (no_memory) {
			free(entry);
			return -ENOMEM;
		}
	}
	entry->prefix = address->prefix;
	entry->scope = address->scope;
	entry->flags = address->flags;
	entry->generation = table->generation;
	return 0;
}

void address_table_remove(struct address_table *table, const struct link_address *address)
{
	struct address_entry *entry = entry_find(table, address);

	if (entry)
		entry_remove(table, entry);
}

void address_table_remove_link(struct address_table *table, int ifindex)
{
	struct address_entry *entry, *next;

	HASH_ITER (hh, table->entries, entry, next) {
		if (entry->key.ifindex == ifindex)
			entry_remove(table, entry);
	}
}

void address_table_dump_begin(struct address_table *table)
{
	table->generation++;
}

void address_table_dump_end(struct address_table *table)
{
	struct address_entry *entry, *next;

	HASH_ITER (hh, table->entries, entry, next) {
		if (entry->generation != table->generation)
			entry_remove(table, entry);
	}
}

static int key_compare(const void *a, const void *b)
{
	const struct address_key *left = a, *right = b;
	const int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : (left->ifindex > right->ifindex) - (left->ifindex < right->ifindex);
}

int address_table_publish(struct address_table *table)
{
	const size_t room = HASH_COUNT(table->entries) + 1; /* + 1: never a zero-sized allocation */
	auto_cleanup(cleanup_free) struct address_key *keys = calloc(room, sizeof(*keys));
	auto_cleanup(cleanup_free) struct ip_addr *addresses = calloc(room, sizeof(*addresses));
	auto_cleanup(cleanup_free) int *owners = calloc(room, sizeof(*owners));
	const struct address_entry *entry, *next;
	size_t key_count = 0;
	size_t count = 0;
	bool changed;

	if (!keys || !addresses || !owners)
		return -ENOMEM;
	HASH_ITER (hh, table->entries, entry, next)
		keys[key_count++] = entry->key;
	qsort(keys, key_count, sizeof(*keys), key_compare);
	for (size_t i = 0; i < key_count; i++) {
		if (count && address_equal(&addresses[count - 1], &keys[i].addr))
			continue;
		addresses[count] = keys[i].addr;
		owners[count++] = keys[i].ifindex;
	}
	changed = count != table->count ||
		  (count && memcmp(addresses, table->addresses, count * sizeof(*addresses)) != 0);
	free(table->addresses);
	free(table->owners);
	table->addresses = take_ptr(addresses);
	table->owners = take_ptr(owners);
	table->count = count;
	return changed;
}

static int addr_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

int address_table_owner(const struct address_table *table, const struct ip_addr *addr)
{
	const struct ip_addr *found;

	if (!table->count)
		return 0;
	found = bsearch(addr, table->addresses, table->count, sizeof(*addr), addr_compare);
	return found ? table->owners[found - table->addresses] : 0;
}

static bool entry_fits(const struct address_entry *entry, enum ip_family family)
{
	return address_family(&entry->key.addr) == family && !(entry->flags & FLAGS_UNFIT) &&
	       (entry->scope == RT_SCOPE_UNIVERSE || entry->scope == RT_SCOPE_SITE);
}

bool address_table_has_network(const struct address_table *table, int ifindex)
{
	const struct address_entry *entry;

	for (entry = table->entries; entry; entry = entry->hh.next) {
		const int bits = address_is_ipv4(&entry->key.addr) ? 32 : 128;

		if (entry->key.ifindex == ifindex && entry->prefix + NEIGHBOUR_BITS < bits)
			return true;
	}
	return false;
}

struct ip_addr address_table_of_link(const struct address_table *table, int ifindex,
				     enum ip_family family)
{
	const struct address_entry *best = NULL;
	const struct address_entry *entry, *next;

	HASH_ITER (hh, table->entries, entry, next) {
		if (entry->key.ifindex == ifindex && entry_fits(entry, family) &&
		    (!best || entry->order < best->order))
			best = entry;
	}
	return best ? best->key.addr : (struct ip_addr){};
}

struct ip_addr address_table_best(const struct address_table *table, enum ip_family family,
				  address_rank_fn rank, void *context)
{
	const struct address_entry *best = NULL;
	const struct address_entry *entry, *next;
	unsigned int best_rank = UINT_MAX;

	HASH_ITER (hh, table->entries, entry, next) {
		unsigned int entry_rank;

		if (!entry_fits(entry, family))
			continue;
		entry_rank = rank(context, entry->key.ifindex, family);
		if (!best || entry_rank < best_rank ||
		    (entry_rank == best_rank && entry->order < best->order)) {
			best = entry;
			best_rank = entry_rank;
		}
	}
	return best ? best->key.addr : (struct ip_addr){};
}
