/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reads the tables of iptables-legacy and ip6tables-legacy in the network namespace of the agent,
 * which nftables does not show.
 */

#include <linux/netfilter_ipv4/ip_tables.h>

struct legacy_table {
	const char *program; /* "iptables-legacy" or "ip6tables-legacy" */
	/* Of IPv6 too: the kernel's structure for it has the same layout. */
	struct ipt_getinfo info;
	const char *rules; /* info.size bytes */
	/* Where a rule has the __u16 that leads to its target. */
	size_t target_offset_at;
};

typedef void (*legacy_table_fn)(const struct legacy_table *table, void *context);

/*
 * Calls `fn` for each table, or for those called `name`. A table that nobody has used is not made
 * by that. Returns 0 or a negative errno: a table could not be read. A kernel without
 * iptables-legacy has no tables. Silent.
 */
int iptables_legacy_each(const char *name, legacy_table_fn fn, void *context);
