/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/forward_policy.h"

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

#include "agent/nftables.h"

/* Whoever replaces a large ruleset again and again is waited for until the next check. */
#define DUMP_TRIES 8

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

static int forward_policy_on_chain(const struct nlmsghdr *message, void *data)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	const char *family = family_name(header->nfgen_family);
	const struct chain chain = chain_read(message);
	char *found = data;
	const size_t length = strlen(found);

	if (family && chain.hook == NF_INET_FORWARD && chain.policy == NF_DROP)
		(void)snprintf(found + length, FORWARD_POLICY_SIZE - length, "%s%s %s %s",
			       length ? ", " : "", family, chain.table, chain.name);
	return MNL_CB_OK;
}

int forward_policy_read(char ret_chains[FORWARD_POLICY_SIZE])
{
	int err = -EINTR;

	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
		*ret_chains = '\0';
		err = nftables_dump(NFT_MSG_GETCHAIN, forward_policy_on_chain, ret_chains);
	}
	return err;
}
