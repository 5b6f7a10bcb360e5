/* SPDX-License-Identifier: BSD-2-Clause */

/* Before the kernel's headers, which then skip what these declare. */
#include <net/if.h>
#include <netinet/in.h>

#include "node/iptables_legacy.h"

#include <errno.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

/* If the ruleset keeps changing during the dump, give up until the next check. */
#define READ_TRIES 8

struct legacy_family {
	const char *program, *names_path;
	int family, level, get_info, get_entries;
	size_t target_offset_at;
};

static const struct legacy_family families[] = {
	{"iptables-legacy", "/proc/self/net/ip_tables_names", AF_INET, IPPROTO_IP, IPT_SO_GET_INFO,
	 IPT_SO_GET_ENTRIES, offsetof(struct ipt_entry, target_offset)},
	{"ip6tables-legacy", "/proc/self/net/ip6_tables_names", AF_INET6, IPPROTO_IPV6,
	 IP6T_SO_GET_INFO, IP6T_SO_GET_ENTRIES, offsetof(struct ip6t_entry, target_offset)},
};

_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo) &&
		       offsetof(struct ipt_get_entries, entrytable) ==
			       offsetof(struct ip6t_get_entries, entrytable),
	       "one structure is read for both families");

/* Reads the table that `info` names; the caller frees the rules. */
static int entries_read(int fd, const struct legacy_family *family, struct ipt_getinfo *info,
			struct ipt_get_entries **ret_entries)
{
	auto_cleanup(cleanup_free) struct ipt_get_entries *entries = NULL;
	socklen_t size = sizeof(*info);

	if (getsockopt(fd, family->level, family->get_info, info, &size))
		return -errno;
	size = (socklen_t)(sizeof(*entries) + info->size);
	entries = calloc(1, size);
	if (!entries)
		return -ENOMEM;
	memcpy(entries->name, info->name, sizeof(entries->name));
	entries->size = info->size;
	if (getsockopt(fd, family->level, family->get_entries, entries, &size))
		return -errno;
	*ret_entries = take_ptr(entries);
	return 0;
}

static int table_read(const struct legacy_family *family, const char *name, legacy_table_fn fn,
		      void *context)
{
	auto_cleanup(cleanup_fd) int fd = socket(family->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	auto_cleanup(cleanup_free) struct ipt_get_entries *entries = NULL;
	struct legacy_table table = {.program = family->program,
				     .target_offset_at = family->target_offset_at};
	int err = -EAGAIN;

	if (fd < 0)
		return -errno;
	/* The table may be replaced between the question for its size and that for its rules. */
	for (int i = 0; i < READ_TRIES && err == -EAGAIN; i++) {
		memset(&table.info, 0, sizeof(table.info));
		(void)memccpy(table.info.name, name, '\0', sizeof(table.info.name) - 1);
		err = entries_read(fd, family, &table.info, &entries);
	}
	if (err)
		return err;
	table.rules = (const char *)entries->entrytable;
	fn(&table, context);
	return 0;
}

/* A request for a table creates it, so only those are asked for that the kernel says it has. */
static int family_each(const struct legacy_family *family, const char *name, legacy_table_fn fn,
		       void *context)
{
	auto_cleanup(cleanup_file) FILE *names = fopen(family->names_path, "re");
	char line[XT_TABLE_MAXNAMELEN + 1];
	int err = 0;

	if (!names)
		return errno == ENOENT ? 0 : -errno;
	while (fgets(line, sizeof(line), names)) {
		int table_err;

		line[strcspn(line, "\n")] = '\0';
		if (name && strcmp(line, name) != 0)
			continue;
		table_err = table_read(family, line, fn, context);
		err = err ? err : table_err;
	}
	return err;
}

int iptables_legacy_each(const char *name, legacy_table_fn fn, void *context)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		int family_err = family_each(&families[i], name, fn, context);

		err = err ? err : family_err;
	}
	return err;
}
