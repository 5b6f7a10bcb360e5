/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/nftables.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/cleanup.h"
#include "link/netlink/netlink.h"

int nftables_dump(uint16_t type, mnl_cb_t on_object, void *data)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_NETFILTER);
	struct nlmsghdr *request =
		netlink_request_init(buf, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	if (!socket)
		return -errno;
	header->nfgen_family = NFPROTO_UNSPEC;
	header->version = NFNETLINK_V0;
	return netlink_request(socket, request, on_object, data);
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
