/* SPDX-License-Identifier: BSD-2-Clause */
#include "node/forward_policy.h"

/* Before the kernel's headers, which then skip what these declare. */
#include <net/if.h>
#include <netinet/in.h>

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "node/iptables_legacy.h"
#include "node/nftables.h"

struct chain {
	const char *table, *name;
	uint32_t hook, policy;
};

static uint32_t number_of(const struct nlattr *attribute)
{
	return mnl_attr_validate(attribute, MNL_TYPE_U32) < 0 ? UINT32_MAX
							      : ntohl(mnl_attr_get_u32(attribute));
}

static struct chain chain_read(const struct nlmsghdr *message)
{
	struct chain chain = {
		.table = nftables_text(message, NFTA_CHAIN_TABLE),
		.name = nftables_text(message, NFTA_CHAIN_NAME),
		.hook = UINT32_MAX,
		.policy = NF_ACCEPT,
	};
	const struct nlattr *attribute, *inner;

	mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attribute) == NFTA_CHAIN_POLICY)
			chain.policy = number_of(attribute);
		if (mnl_attr_get_type(attribute) != NFTA_CHAIN_HOOK)
			continue;
		mnl_attr_for_each_nested(inner, attribute)
		{
			if (mnl_attr_get_type(inner) == NFTA_HOOK_HOOKNUM)
				chain.hook = number_of(inner);
		}
	}
	return chain;
}

/* Of the bridge and netdev families no chain sees what is routed. */
static const char *family_name(uint8_t family)
{
	switch (family) {
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_INET:
		return "inet";
	default:
		return NULL;
	}
}

static void found_add(char *found, const char *owner, const char *table, const char *chain)
{
	const size_t length = strlen(found);

	(void)snprintf(found + length, FORWARD_POLICY_SIZE - length, "%s%s %s %s",
		       length ? ", " : "", owner, table, chain);
}

static void chains_begin(void *data)
{
	*(char *)data = '\0';
}

static int forward_policy_on_chain(const struct nlmsghdr *message, void *data)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	const char *family = family_name(header->nfgen_family);
	const struct chain chain = chain_read(message);

	if (family && chain.hook == NF_INET_FORWARD && chain.policy == NF_DROP)
		found_add(data, family, chain.table, chain.name);
	return MNL_CB_OK;
}

/* A policy is the last rule of its chain: one without a match, whose target is the verdict. */
static void forward_policy_on_table(const struct legacy_table *table, void *context)
{
	const size_t rule = table->info.underflow[NF_INET_FORWARD];
	const size_t offset_at = rule + table->target_offset_at;
	struct xt_standard_target target;
	__u16 offset;

	if (!(table->info.valid_hooks & 1U << NF_INET_FORWARD) ||
	    offset_at + sizeof(offset) > table->info.size)
		return;
	memcpy(&offset, table->rules + offset_at, sizeof(offset));
	if (rule + offset + sizeof(target) > table->info.size)
		return;
	memcpy(&target, table->rules + rule + offset, sizeof(target));
	if (target.verdict == -NF_DROP - 1)
		found_add(context, table->program, table->info.name, "FORWARD");
}

int forward_policy_read(char ret_chains[FORWARD_POLICY_SIZE])
{
	int err, legacy_err;

	/* A dump that cannot be begun does not do that. */
	chains_begin(ret_chains);
	err = nftables_dump(NFT_MSG_GETCHAIN, forward_policy_on_chain, chains_begin, ret_chains);
	/* The kernel has no nftables, and so no chains of it. */
	if (err == -EINVAL || err == -EPROTONOSUPPORT)
		err = 0;
	legacy_err = iptables_legacy_each(NULL, forward_policy_on_table, ret_chains);
	if (*ret_chains)
		return 0;
	return err ? err : legacy_err;
}
