/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernel_messages.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/forward_policy.h"
#include "node/other_proxy.h"
#include "link/netlink/netlink.h"
#include "link/sockets/udp_sockets.h"

/* The messages that the socket has; every request is answered by all of them. */
static const uint8_t *messages;
static size_t messages_size;

/* libmnl's interface, in place of the real one: only what netlink.c calls. */

struct mnl_socket {
	char nothing;
};

static struct mnl_socket the_socket;

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	(void)bus;
	(void)flags;
	return &the_socket;
}

int mnl_socket_bind(struct mnl_socket *socket, unsigned int groups, pid_t pid)
{
	(void)socket;
	(void)groups;
	(void)pid;
	return 0;
}

unsigned int mnl_socket_get_portid(const struct mnl_socket *socket)
{
	(void)socket;
	return 1;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t size)
{
	(void)socket;
	(void)request;
	return (ssize_t)size;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *buf, size_t size)
{
	(void)socket;
	(void)buf;
	return (ssize_t)size;
}

int mnl_socket_close(struct mnl_socket *socket)
{
	(void)socket;
	return 0;
}

/*
 * Cuts the input as libmnl cuts a datagram, whose frame of the messages is the kernel's. Each
 * message is in memory of just its size.
 */
int mnl_cb_run(const void *buf, size_t size, unsigned int seq, unsigned int portid,
	       mnl_cb_t callback, void *data)
{
	int result = MNL_CB_OK;

	(void)buf;
	(void)size;
	(void)seq;
	(void)portid;
	for (size_t done = 0; result > MNL_CB_STOP && messages_size - done >= MNL_NLMSG_HDRLEN;) {
		const size_t left = messages_size - done;
		struct nlmsghdr header, *message;
		size_t length;

		memcpy(&header, messages + done, sizeof(header));
		length = header.nlmsg_len > left ? left : header.nlmsg_len;
		if (length < MNL_NLMSG_HDRLEN)
			length = MNL_NLMSG_HDRLEN;
		message = calloc(1, MNL_ALIGN(length)); /* the kernel pads it */
		if (!message)
			abort();
		memcpy(message, messages + done, length);
		message->nlmsg_len = (__u32)length;
		result = callback(message, data);
		free(message);
		done += MNL_ALIGN(length) < left ? MNL_ALIGN(length) : left;
	}
	if (result == MNL_CB_ERROR)
		return result;
	/* The last byte says how the dump ends. */
	errno = messages_size && messages[messages_size - 1] == 1 ? EINTR : ENOENT;
	return messages_size && messages[messages_size - 1] == 2 ? MNL_CB_ERROR : MNL_CB_STOP;
}

static int socket_visit(void *context, const struct udp_socket *socket)
{
	unsigned int *count = context;

	return ++*count > 1000 || !socket->inode ? -ENOMEM : 0;
}

static void sockets_read(void)
{
	unsigned int count = 0;
	const struct udp_sockets list = {.states = UDP_CONNECTED | UDP_UNCONNECTED,
					 .visit = socket_visit,
					 .context = &count};
	const struct inet_diag_sockid id = {};

	(void)udp_sockets_list(&list);
	(void)udp_socket_destroy(&the_socket, AF_INET, &id);
}

static void nftables_read(void)
{
	char chains[FORWARD_POLICY_SIZE], found[OTHER_PROXY_SIZE];

	(void)forward_policy_read(chains);
	if (strnlen(chains, sizeof(chains)) == sizeof(chains))
		abort();
	(void)other_proxy_find(found);
	if (strnlen(found, sizeof(found)) == sizeof(found))
		abort();
}

static void filters_read(void)
{
	char name[FILTER_NAME_SIZE];

	(void)netlink_count_filters(1, 1);
	(void)netlink_filter_name(1, 1, 1, 1, name);
	if (strnlen(name, sizeof(name)) == sizeof(name))
		abort();
}

/* The first byte says who reads. */
void kernel_messages_fuzz(const uint8_t *data, size_t size)
{
	static void (*const readers[])(void) = {nftables_read, sockets_read, filters_read};

	if (!size)
		return;
	messages = data + 1;
	messages_size = size - 1;
	readers[*data % (sizeof(readers) / sizeof(readers[0]))]();
}
