/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/netlink/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/cleanup.h"

/* The most that the kernel puts into one datagram of a dump. */
#define DUMP_BUFFER_SIZE 32768

/*
 * A burst of new pods must not overflow the receive buffer; if one does, everything is read again.
 */
#define WATCH_BUFFER_BYTES (2 << 20)

/* A dump that was interrupted by changes is incomplete, so it is repeated. */
#define DUMP_TRIES 32

void netlink_closep(struct mnl_socket **socket)
{
	if (*socket)
		(void)mnl_socket_close(*socket);
	*socket = NULL;
}

struct mnl_socket *netlink_open(int bus)
{
	auto_cleanup(netlink_closep) struct mnl_socket *socket =
		mnl_socket_open2(bus, SOCK_CLOEXEC);

	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return NULL;
	return take_ptr(socket);
}

struct mnl_socket *netlink_open_watch(void)
{
	const unsigned int groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
				    RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
	auto_cleanup(netlink_closep) struct mnl_socket *socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const int bytes = WATCH_BUFFER_BYTES;

	if (!socket)
		return NULL;
	/*
	 * Without the capability the default size stays: overflows, and so full re-reads, are more
	 * likely.
	 */
	(void)setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
			 sizeof(bytes));
	if (mnl_socket_bind(socket, groups, MNL_SOCKET_AUTOPID) < 0)
		return NULL;
	return take_ptr(socket);
}

struct nlmsghdr *netlink_request_init(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	return request;
}

int netlink_request(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t callback,
		    void *data)
{
	char buf[DUMP_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	const unsigned int port = mnl_socket_get_portid(socket);
	int err;

	request->nlmsg_seq = 1;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t len = mnl_socket_recvfrom(socket, buf, sizeof(buf));

		if (len < 0)
			return -errno;
		err = mnl_cb_run(buf, (size_t)len, request->nlmsg_seq, port, callback, data);
	} while (err > MNL_CB_STOP);
	return err < 0 ? -errno : 0;
}

int netlink_request_dump(int bus, struct nlmsghdr *request, mnl_cb_t callback,
			 void (*begin)(void *data), void *data)
{
	int err = -EINTR;

	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
		auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(bus);

		if (!socket)
			return -errno;
		if (begin)
			begin(data);
		err = netlink_request(socket, request, callback, data);
	}
	return err;
}

/* Leaves out the traffic counters, which would make up most of the answer. */
static void put_skip_stats(struct nlmsghdr *request)
{
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

static int dump_family(uint16_t type, unsigned char family, const struct netlink_events *events)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request = netlink_request_init(buf, type, NLM_F_DUMP);
	union dump_header {
		unsigned char family;
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
	};
	union dump_header *header;

	/*
	 * This is the longest of the three headers, and all begin with the family: the kernel
	 * accepts it for each type.
	 */
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->family = family;
	if (type == RTM_GETLINK)
		put_skip_stats(request);
	return netlink_request_dump(NETLINK_ROUTE, request, netlink_message, NULL, (void *)events);
}

int netlink_dump(uint16_t type, const struct netlink_events *events)
{
	int err;

	if (type == RTM_GETLINK)
		return dump_family(type, AF_UNSPEC, events);
	err = dump_family(type, AF_INET, events);
	if (err)
		return err;
	err = dump_family(type, AF_INET6, events);
	/* A kernel without IPv6 has nothing to dump. */
	return err == -EOPNOTSUPP || err == -EAFNOSUPPORT ? 0 : err;
}

int netlink_get_link(int ifindex, const struct netlink_events *events)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_ROUTE);
	struct nlmsghdr *request = netlink_request_init(buf, RTM_GETLINK, NLM_F_ACK);
	struct ifinfomsg *header;

	if (!socket)
		return -errno;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifi_index = ifindex;
	put_skip_stats(request);
	return netlink_request(socket, request, netlink_message, (void *)events);
}

static void filter_count_begin(void *data)
{
	*(int *)data = 0;
}

static int filter_count(const struct nlmsghdr *message, void *data)
{
	int *count = data;

	if (message->nlmsg_type == RTM_NEWTFILTER)
		(*count)++;
	return MNL_CB_OK;
}

static int filter_name_read(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *attribute, *option;
	char *name = data;

	mnl_attr_for_each(attribute, message, sizeof(struct tcmsg))
	{
		if (mnl_attr_get_type(attribute) != TCA_OPTIONS)
			continue;
		mnl_attr_for_each_nested(option, attribute)
		{
			if (mnl_attr_get_type(option) == TCA_BPF_NAME &&
			    mnl_attr_validate(option, MNL_TYPE_NUL_STRING) >= 0)
				(void)snprintf(name, FILTER_NAME_SIZE, "%s",
					       mnl_attr_get_str(option));
		}
	}
	return MNL_CB_OK;
}

int netlink_filter_name(int ifindex, uint32_t parent, uint16_t priority, uint32_t handle,
			char ret_name[FILTER_NAME_SIZE])
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_ROUTE);
	struct nlmsghdr *request = netlink_request_init(buf, RTM_GETTFILTER, NLM_F_ACK);
	struct tcmsg *header;

	*ret_name = '\0';
	if (!socket)
		return -errno;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->tcm_ifindex = ifindex;
	header->tcm_parent = parent;
	header->tcm_handle = handle;
	header->tcm_info = TC_H_MAKE((uint32_t)priority << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(request, TCA_KIND, "bpf");
	return netlink_request(socket, request, filter_name_read, ret_name);
}

int netlink_count_filters(int ifindex, uint32_t parent)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *request = netlink_request_init(buf, RTM_GETTFILTER, NLM_F_DUMP);
	struct tcmsg *header;
	int count = 0;
	int err;

	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->tcm_ifindex = ifindex;
	header->tcm_parent = parent;
	err = netlink_request_dump(NETLINK_ROUTE, request, filter_count, filter_count_begin,
				   &count);
	return err ? err : count;
}
