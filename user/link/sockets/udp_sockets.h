/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* UDP sockets of the calling thread's network namespace, as the kernel lists them. */

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <netinet/tcp.h>
#include <sys/types.h>

#include "fairlead/types.h"

/* A connected UDP socket has TCP's state ESTABLISHED, every other one CLOSE. */
#define UDP_CONNECTED   (1U << TCP_ESTABLISHED)
#define UDP_UNCONNECTED (1U << TCP_CLOSE)

struct udp_socket {
	ino_t inode; /* 0: already closed, about to be freed */
	__u8 family;
	struct ip_addr local, peer;
	__be16 local_port, peer_port;
	struct inet_diag_sockid id;
};

/* Which sockets to list, and the callback that receives them. */
struct udp_sockets {
	__u32 states;
	__be16 peer_port; /* 0: all */
	/* Returns 0 or a negative errno, which ends the list. */
	int (*visit)(void *context, const struct udp_socket *socket);
	void *context;
};

/*
 * Lists the sockets. Returns 0, -EOPNOTSUPP if the kernel was built without UDP diagnostics, or
 * another negative errno. Silent.
 */
int udp_sockets_list(const struct udp_sockets *list);

/*
 * Aborts (ECONNABORTED) one socket, through a socket of netlink_open(NETLINK_SOCK_DIAG). The kernel
 * looks it up by addresses and ports: -ENOENT if it finds none, -ESTALE if it finds another socket.
 */
int udp_socket_destroy(struct mnl_socket *netlink, __u8 family, const struct inet_diag_sockid *id);
