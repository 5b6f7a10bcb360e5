/* SPDX-License-Identifier: BSD-2-Clause */

/* A link's XDP features, from the kernel's generic netlink family "netdev" (Linux 6.3). */
#include "link/hooks/xdp_features.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "link/netlink/netlink.h"

/* Constants of the kernel's ABI that older headers lack. */
#define NETDEV_FAMILY         "netdev"
#define NETDEV_FAMILY_VERSION 1
#define NETDEV_GET            1           /* NETDEV_CMD_DEV_GET */
#define NETDEV_IFINDEX        1           /* NETDEV_A_DEV_IFINDEX */
#define NETDEV_XDP_FEATURES   3           /* NETDEV_A_DEV_XDP_FEATURES */
#define XDP_FEATURE_SENDS     (1ULL << 2) /* NETDEV_XDP_ACT_NDO_XMIT */

static int attribute_find(const struct nlmsghdr *message, uint16_t type,
			  const struct nlattr **ret_attribute)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attribute) == type) {
			*ret_attribute = attribute;
			return 0;
		}
	}
	return -ENOENT;
}

static int family_read(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *id;

	if (!attribute_find(message, CTRL_ATTR_FAMILY_ID, &id) &&
	    mnl_attr_validate(id, MNL_TYPE_U16) >= 0)
		*(uint16_t *)data = mnl_attr_get_u16(id);
	return MNL_CB_OK;
}

static int features_read(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *features;

	if (!attribute_find(message, NETDEV_XDP_FEATURES, &features) &&
	    mnl_attr_validate(features, MNL_TYPE_U64) >= 0)
		*(enum xdp_sending *)data = mnl_attr_get_u64(features) & XDP_FEATURE_SENDS
						    ? XDP_SENDING_WORKS
						    : XDP_SENDING_LOSES;
	return MNL_CB_OK;
}

static struct nlmsghdr *request_init(void *buf, uint16_t family, uint8_t command, uint8_t version)
{
	struct nlmsghdr *request = netlink_request_init(buf, family, NLM_F_ACK);
	struct genlmsghdr *header;

	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->cmd = command;
	header->version = version;
	return request;
}

static uint16_t family_of(struct mnl_socket *socket)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request = request_init(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	uint16_t family = 0;

	mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
	return netlink_request(socket, request, family_read, &family) ? 0 : family;
}

enum xdp_sending xdp_sending_of(int ifindex)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_GENERIC);
	enum xdp_sending sending = XDP_SENDING_UNKNOWN;
	struct nlmsghdr *request;
	uint16_t family;

	family = socket ? family_of(socket) : 0;
	if (!family)
		return XDP_SENDING_UNKNOWN;
	request = request_init(buf, family, NETDEV_GET, NETDEV_FAMILY_VERSION);
	mnl_attr_put_u32(request, NETDEV_IFINDEX, (uint32_t)ifindex);
	if (netlink_request(socket, request, features_read, &sending))
		return XDP_SENDING_UNKNOWN;
	return sending;
}
