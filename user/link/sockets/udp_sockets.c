/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/sockets/udp_sockets.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "link/netlink/netlink.h"

static struct ip_addr diag_addr(__u8 family, const __be32 words[4])
{
	struct ip_addr addr;

	if (family == AF_INET)
		return address_from_ipv4(words[0]);
	memcpy(addr.bytes, words, sizeof(addr.bytes));
	return addr;
}

static int socket_message(const struct nlmsghdr *message, void *data)
{
	const struct inet_diag_msg *diag = mnl_nlmsg_get_payload(message);
	const struct udp_sockets *list = data;
	struct udp_socket socket;
	int err;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*diag))
		return MNL_CB_OK;
	socket = (struct udp_socket){
		.inode = diag->idiag_inode,
		.family = diag->idiag_family,
		.local = diag_addr(diag->idiag_family, diag->id.idiag_src),
		.peer = diag_addr(diag->idiag_family, diag->id.idiag_dst),
		.local_port = diag->id.idiag_sport,
		.peer_port = diag->id.idiag_dport,
		.id = diag->id,
	};
	err = list->visit(list->context, &socket);
	if (!err)
		return MNL_CB_OK;
	errno = -err;
	return MNL_CB_ERROR;
}

static struct inet_diag_req_v2 *request_init(char *buf, uint16_t type, uint16_t flags, __u8 family)
{
	struct nlmsghdr *request = netlink_request_init(buf, type, flags);
	struct inet_diag_req_v2 *body;

	body = mnl_nlmsg_put_extra_header(request, sizeof(*body));
	body->sdiag_family = family;
	body->sdiag_protocol = IPPROTO_UDP;
	return body;
}

static int family_list(const struct udp_sockets *list, struct mnl_socket *netlink, __u8 family)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct inet_diag_req_v2 *body = request_init(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);

	body->idiag_states = list->states;
	body->id.idiag_dport = list->peer_port;
	return netlink_request(netlink, (void *)buf, socket_message, (void *)list);
}

int udp_sockets_list(const struct udp_sockets *list)
{
	auto_cleanup(netlink_closep) struct mnl_socket *netlink = netlink_open(NETLINK_SOCK_DIAG);
	int err;

	if (!netlink)
		return -errno;
	err = family_list(list, netlink, AF_INET);
	if (err)
		return err == -ENOENT ? -EOPNOTSUPP : err; /* no handler: the module is missing */
	err = family_list(list, netlink, AF_INET6);
	return err == -ENOENT ? 0 : err;
}

static int ack_message(const struct nlmsghdr *message, void *data)
{
	(void)message;
	(void)data;
	return MNL_CB_OK;
}

int udp_socket_destroy(struct mnl_socket *netlink, __u8 family, const struct inet_diag_sockid *id)
{
	char buf[NETLINK_REQUEST_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct inet_diag_req_v2 *body = request_init(buf, SOCK_DESTROY, NLM_F_ACK, family);

	body->id = *id;
	return netlink_request(netlink, (void *)buf, ack_message, NULL);
}
