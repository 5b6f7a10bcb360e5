/* SPDX-License-Identifier: BSD-2-Clause */
#include "node/other_proxy.h"

/* Before the kernel's headers, which then skip what these declare. */
#include <net/if.h>
#include <netinet/in.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "node/iptables_legacy.h"
#include "node/nftables.h"

#define PROGRAM "kube-proxy"
#define CHAIN   "KUBE-SERVICES"

struct findings {
	unsigned int kinds; /* 1U << enum other_proxy_kind */
	char *text;
};

struct search {
	struct findings *findings;
	unsigned int kinds_before;
	size_t length_before; /* of the findings' text */
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

static void search_begin(void *data)
{
	const struct search *search = data;

	search->findings->kinds = search->kinds_before;
	search->findings->text[search->length_before] = '\0';
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

/* A chain's first entry contains its name. */
static void legacy_on_table(const struct legacy_table *table, void *context)
{
	char what[64];

	if (!memmem(table->rules, table->info.size, CHAIN, sizeof(CHAIN)))
		return;
	(void)snprintf(what, sizeof(what), "%s chain", table->program);
	found_add(context, OTHER_PROXY_IPTABLES, what, CHAIN);
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
	(void)nftables_dump(NFT_MSG_GETTABLE, nftables_on_object, search_begin, &tables);
	chains.kinds_before = findings.kinds;
	chains.length_before = strlen(findings.text);
	(void)nftables_dump(NFT_MSG_GETCHAIN, nftables_on_object, search_begin, &chains);
	(void)iptables_legacy_each("nat", legacy_on_table, &findings);
	if (if_nametoindex(OTHER_PROXY_LINK))
		found_add(&findings, OTHER_PROXY_IPVS, "link", OTHER_PROXY_LINK);
	processes_search(&findings);
	return findings.kinds;
}
