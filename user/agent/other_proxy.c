/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/other_proxy.h"

/* Before the kernel's headers, which then skip what these declare. */
#include <net/if.h>
#include <netinet/in.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/nftables.h"
#include "base/cleanup.h"

#define PROGRAM "kube-proxy"
#define CHAIN   "KUBE-SERVICES"

struct findings {
	unsigned int kinds; /* 1U << enum other_proxy_kind */
	char *text;
};

struct search {
	struct findings *findings;
	enum other_proxy_kind kind;
	int name_attribute;  /* NFTA_TABLE_NAME or NFTA_CHAIN_NAME */
	int table_attribute; /* NFTA_CHAIN_TABLE; 0: tables are searched */
	const char *name;
};

const char *other_proxy_kind_word(enum other_proxy_kind kind)
{
	static const char *const words[OTHER_PROXY_KINDS] = {
		[OTHER_PROXY_NFTABLES] = "nftables",
		[OTHER_PROXY_IPTABLES] = "iptables",
		[OTHER_PROXY_IPVS] = "ipvs",
		[OTHER_PROXY_PROCESS] = "process",
	};

	return words[kind];
}

static void found_add(struct findings *findings, enum other_proxy_kind kind, const char *what,
		      const char *name)
{
	size_t length = strlen(findings->text);

	findings->kinds |= 1U << kind;
	(void)snprintf(findings->text + length, OTHER_PROXY_SIZE - length, "%s%s %s",
		       length ? ", " : "", what, name);
}

static const char *family_name(uint8_t family)
{
	return family == NFPROTO_IPV4 ? "ip" : family == NFPROTO_IPV6 ? "ip6" : "inet";
}

static int nftables_on_object(const struct nlmsghdr *message, void *data)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	const struct search *search = data;
	char what[64];

	if (strcmp(nftables_text(message, search->name_attribute), search->name) != 0)
		return MNL_CB_OK;
	if (!search->table_attribute)
		(void)snprintf(what, sizeof(what), "nftables table %s",
			       family_name(header->nfgen_family));
	else if (strcmp(nftables_text(message, search->table_attribute), "nat") != 0)
		return MNL_CB_OK;
	else
		(void)snprintf(what, sizeof(what), "%stables chain",
			       family_name(header->nfgen_family));
	found_add(search->findings, search->kind, what, search->name);
	return MNL_CB_OK;
}

/* A request for a legacy table creates it, so check first that it exists. */
static bool has_legacy_nat(const char *path)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "re");
	char line[64];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strcmp(line, "nat\n"))
			return true;
	}
	return false;
}

/*
 * A chain's first entry contains its name. The structures for IPv6 have the same layout as those
 * for IPv4 up to the fields used here.
 */
static bool has_legacy_chain(int family, int level, int get_info, int get_entries)
{
	auto_cleanup(cleanup_fd) int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	auto_cleanup(cleanup_free) struct ipt_get_entries *entries = NULL;
	struct ipt_getinfo info = {.name = "nat"};
	socklen_t size = sizeof(info);

	if (fd < 0 || getsockopt(fd, level, get_info, &info, &size))
		return false;
	size = (socklen_t)(sizeof(*entries) + info.size);
	entries = calloc(1, size);
	if (!entries)
		return false;
	memcpy(entries->name, info.name, sizeof(entries->name));
	entries->size = info.size;
	return !getsockopt(fd, level, get_entries, entries, &size) &&
	       memmem(entries->entrytable, info.size, CHAIN, sizeof(CHAIN));
}

/* True if the process `pid`, a folder in /proc, is a kube-proxy of our network namespace. */
static bool is_kube_proxy(int proc, const char *pid, const struct stat *netns)
{
	auto_cleanup(cleanup_file) FILE *file = NULL;
	char path[64], name[sizeof(PROGRAM) + 1];
	struct stat other;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(name, sizeof(name), file) || strcmp(name, PROGRAM "\n") != 0)
		return false;
	(void)snprintf(path, sizeof(path), "%.16s/ns/net", pid);
	return !fstatat(proc, path, &other, 0) && other.st_dev == netns->st_dev &&
	       other.st_ino == netns->st_ino;
}

static void processes_search(struct findings *findings)
{
	auto_cleanup(cleanup_dir) DIR *proc = opendir("/proc");
	const struct dirent *entry;
	struct stat netns;

	if (!proc || stat("/proc/self/ns/net", &netns))
		return;
	while ((entry = readdir(proc))) {
		if (isdigit((unsigned char)*entry->d_name) &&
		    is_kube_proxy(dirfd(proc), entry->d_name, &netns))
			found_add(findings, OTHER_PROXY_PROCESS, "process", entry->d_name);
	}
}

unsigned int other_proxy_find(char ret_found[OTHER_PROXY_SIZE])
{
	struct findings findings = {.text = ret_found};
	struct search tables = {.findings = &findings,
				.kind = OTHER_PROXY_NFTABLES,
				.name_attribute = NFTA_TABLE_NAME,
				.name = PROGRAM};
	struct search chains = {.findings = &findings,
				.kind = OTHER_PROXY_IPTABLES,
				.name_attribute = NFTA_CHAIN_NAME,
				.table_attribute = NFTA_CHAIN_TABLE,
				.name = CHAIN};

	*ret_found = '\0';
	(void)nftables_dump(NFT_MSG_GETTABLE, nftables_on_object, &tables);
	(void)nftables_dump(NFT_MSG_GETCHAIN, nftables_on_object, &chains);
	if (has_legacy_nat("/proc/self/net/ip_tables_names") &&
	    has_legacy_chain(AF_INET, IPPROTO_IP, IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES))
		found_add(&findings, OTHER_PROXY_IPTABLES, "iptables-legacy chain", CHAIN);
	if (has_legacy_nat("/proc/self/net/ip6_tables_names") &&
	    has_legacy_chain(AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO, IP6T_SO_GET_ENTRIES))
		found_add(&findings, OTHER_PROXY_IPTABLES, "ip6tables-legacy chain", CHAIN);
	if (if_nametoindex(OTHER_PROXY_LINK))
		found_add(&findings, OTHER_PROXY_IPVS, "link", OTHER_PROXY_LINK);
	processes_search(&findings);
	return findings.kinds;
}
