/* SPDX-License-Identifier: BSD-2-Clause */
#include "node/nftables.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "link/netlink/netlink.h"

int nftables_dump(uint16_t type, mnl_cb_t on_object, void (*begin)(void *data), void *data)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request =
		netlink_request_init(buf, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->nfgen_family = NFPROTO_UNSPEC;
	header->version = NFNETLINK_V0;
	return netlink_request_dump(NETLINK_NETFILTER, request, on_object, begin, data);
}

/* The kernel terminates the strings in its answers. */
const char *nftables_text(const struct nlmsghdr *message, int type)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attribute) == type &&
		    !mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING))
			return mnl_attr_get_str(attribute);
	}
	return "";
}
