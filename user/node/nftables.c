/* SPDX-License-Identifier: BSD-2-Clause */
#include "node/nftables.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "link/netlink/netlink.h"

struct receiver {
	mnl_cb_t on_object;
	void (*begin)(void *data);
	void *data;
};

/* A message that is too short for its header is none of nftables'. */
static int message_receive(const struct nlmsghdr *message, void *context)
{
	const struct receiver *receiver = context;

	return mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg)
		       ? MNL_CB_OK
		       : receiver->on_object(message, receiver->data);
}

static void dump_begin(void *context)
{
	const struct receiver *receiver = context;

	receiver->begin(receiver->data);
}

int nftables_dump(uint16_t type, mnl_cb_t on_object, void (*begin)(void *data), void *data)
{
	struct receiver receiver = {.on_object = on_object, .begin = begin, .data = data};
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request =
		netlink_request_init(buf, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->nfgen_family = NFPROTO_UNSPEC;
	header->version = NFNETLINK_V0;
	return netlink_request_dump(NETLINK_NETFILTER, request, message_receive,
				    begin ? dump_begin : NULL, &receiver);
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
