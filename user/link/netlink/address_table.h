/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The addresses that are assigned to links, as reported by rtnetlink. */

#include <stddef.h>

#include "link/netlink/netlink.h"

struct address_entry;

struct address_table {
	struct address_entry *entries; /* uthash, by link and address */
	unsigned long next_order;
	unsigned int generation;
	/*
	 * The last published state: sorted, without duplicates, each with the lowest ifindex that
	 * has it.
	 */
	struct ip_addr *addresses;
	int *owners;
	size_t count;
};

/* Ranks links for address_table_best(): the lowest rank wins. */
typedef unsigned int (*address_rank_fn)(void *context, int ifindex, enum ip_family family);

void address_table_fini(struct address_table *table);

/* Loopback (127/8, ::1) and link-local (fe80::/10) addresses are left out. Returns 0 or -ENOMEM. */
int address_table_add(struct address_table *table, const struct link_address *address);
void address_table_remove(struct address_table *table, const struct link_address *address);
void address_table_remove_link(struct address_table *table, int ifindex);

/* Removes every address that is not added again between the two calls. */
void address_table_dump_begin(struct address_table *table);
void address_table_dump_end(struct address_table *table);

/* Publishes all additions and removals. Returns 1 if the set has changed, 0 if not, or -ENOMEM. */
int address_table_publish(struct address_table *table);

/* The ifindex of the link that has the address, or 0. */
int address_table_owner(const struct address_table *table, const struct ip_addr *addr);

/* A link's primary address of a family; all zero if it has none of global scope. */
struct ip_addr address_table_of_link(const struct address_table *table, int ifindex,
				     enum ip_family family);

/* True if an address of the link is in a network with room for more than one neighbour. */
bool address_table_has_network(const struct address_table *table, int ifindex);

/*
 * The node's own address of a family, from the link with the lowest rank; all zero if there is none
 * of global scope.
 */
struct ip_addr address_table_best(const struct address_table *table, enum ip_family family,
				  address_rank_fn rank, void *context);
