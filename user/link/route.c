/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/route.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "link/netlink/netlink.h"

static const void *address_bytes(const struct ip_addr *addr)
{
	return address_is_ipv4(addr) ? addr->bytes + 12 : addr->bytes;
}

static uint16_t address_size(const struct ip_addr *addr)
{
	return address_is_ipv4(addr) ? 4 : 16;
}

static unsigned char address_netlink_family(const struct ip_addr *addr)
{
	return address_is_ipv4(addr) ? AF_INET : AF_INET6;
}

static int route_read(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *attribute;
	int *ifindex = data;

	mnl_attr_for_each(attribute, message, sizeof(struct rtmsg))
	{
		if (mnl_attr_get_type(attribute) == RTA_OIF)
			*ifindex = (int)mnl_attr_get_u32(attribute);
	}
	return MNL_CB_OK;
}

static int route_lookup(const struct ip_addr *addr, int *ret_ifindex)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_ROUTE);
	struct nlmsghdr *request = netlink_request_init(buf, RTM_GETROUTE, NLM_F_ACK);
	struct rtmsg *header;

	if (!socket)
		return -errno;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->rtm_family = address_netlink_family(addr);
	header->rtm_dst_len = (unsigned char)(address_size(addr) * 8);
	mnl_attr_put(request, RTA_DST, address_size(addr), address_bytes(addr));
	return netlink_request(socket, request, route_read, ret_ifindex);
}

/*
 * A search of the neighbour tables: first for the IP address, which yields a MAC address, then for
 * the bridge port that has learned that MAC address.
 */
struct search {
	const struct ip_addr *addr; /* NULL: search for the MAC address */
	int bridge;
	unsigned char mac[ETH_ALEN];
	bool has_mac;
	int port;
};

static int neighbour_match(const struct nlmsghdr *message, void *data)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attribute, *dst = NULL, *mac = NULL;
	struct search *search = data;
	int master = 0;

	mnl_attr_for_each(attribute, message, sizeof(*header))
	{
		switch (mnl_attr_get_type(attribute)) {
		case NDA_DST:
			dst = attribute;
			break;
		case NDA_LLADDR:
			mac = attribute;
			break;
		case NDA_MASTER:
			master = (int)mnl_attr_get_u32(attribute);
			break;
		default:
			break;
		}
	}
	if (!mac || mnl_attr_get_payload_len(mac) != ETH_ALEN)
		return MNL_CB_OK;
	if (search->addr && header->ndm_ifindex == search->bridge && dst &&
	    mnl_attr_get_payload_len(dst) == address_size(search->addr) &&
	    !memcmp(mnl_attr_get_payload(dst), address_bytes(search->addr),
		    address_size(search->addr))) {
		memcpy(search->mac, mnl_attr_get_payload(mac), ETH_ALEN);
		search->has_mac = true;
	} else if (!search->addr && master == search->bridge &&
		   !memcmp(mnl_attr_get_payload(mac), search->mac, ETH_ALEN)) {
		search->port = header->ndm_ifindex;
	}
	return MNL_CB_OK;
}

static void search_begin(void *data)
{
	struct search *search = data;

	search->port = 0;
	if (search->addr)
		search->has_mac = false;
}

static int neighbours_dump(unsigned char family, struct search *search)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request = netlink_request_init(buf, RTM_GETNEIGH, NLM_F_DUMP);
	struct ndmsg *header;

	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ndm_family = family;
	return netlink_request_dump(NETLINK_ROUTE, request, neighbour_match, search_begin, search);
}

/* The bridge port behind which the address was seen; 0: none, or the link is not a bridge. */
static int bridge_port(int bridge, const struct ip_addr *addr)
{
	struct search search = {.addr = addr, .bridge = bridge};

	if (neighbours_dump(address_netlink_family(addr), &search) || !search.has_mac)
		return 0;
	search.addr = NULL;
	return neighbours_dump(AF_BRIDGE, &search) ? 0 : search.port;
}

int route_find_link(const struct ip_addr *addr, int *ret_ifindex)
{
	int ifindex = 0, port;
	int err = route_lookup(addr, &ifindex);

	if (err)
		return err;
	if (!ifindex)
		return -EHOSTUNREACH;
	port = bridge_port(ifindex, addr);
	*ret_ifindex = port ? port : ifindex;
	return 0;
}
