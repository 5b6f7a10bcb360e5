/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three steps, so that many targets and many namespaces cost one walk each:
 *
 * 1. In each network namespace the kernel lists the UDP sockets that are connected to a target.
 * Most of the time there is none, and that is all.
 * 2. Which of them did we connect? The kernel does not tell the storage of UDP sockets with the
 * list (INET_DIAG_SK_BPF_STORAGES is for TCP), but it looks it up by a descriptor of the socket:
 * their processes are found by /proc and lend theirs (pidfd_getfd).
 * 3. Those are ended, each in its namespace, by the cookie that the list gave.
 */
#include "link/sockets.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "cleanup.h"
#include "link/namespaces.h"
#include "link/netlink.h"
#include "link/process_sockets.h"
#include "log.h"

#define REQUEST_BUFFER_SIZE 256

struct socket_found {
	ino_t inode;
	ino_t namespace;
	struct inet_diag_sockid id;
	__u8 family;
	bool is_asked; /* its storage was looked at; several processes may hold it */
	bool is_ours;
};

/* One pass over all namespaces. */
struct pass {
	int socket_state_map;
	struct socket_target *targets; /* sorted */
	size_t target_count;
	struct namespaces namespaces;
	ino_t namespace; /* the one at hand */
	struct socket_found *found;
	size_t found_count;
	size_t found_room;
	size_t asked_count;
	bool is_done; /* all found were asked */
	unsigned int destroyed;
};

/* By the backend alone, for that is all that the kernel's list shows of a socket. */
static int target_compare_backend(const void *a, const void *b)
{
	const struct socket_target *left = a, *right = b;
	const int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : memcmp(&left->port, &right->port, sizeof(left->port));
}

static int target_compare(const void *a, const void *b)
{
	const struct socket_target *left = a, *right = b;
	const int order = target_compare_backend(a, b);

	if (order)
		return order;
	return left->service < right->service ? -1 : left->service > right->service;
}

static bool is_target(const struct pass *pass, const struct ip_addr *addr, __be16 port)
{
	const struct socket_target key = {.addr = *addr, .port = port};

	return bsearch(&key, pass->targets, pass->target_count, sizeof(key),
		       target_compare_backend);
}

static struct ip_addr diag_addr(__u8 family, const __be32 words[4])
{
	struct ip_addr addr;

	if (family == AF_INET)
		return address_from_ipv4(words[0]);
	memcpy(addr.bytes, words, sizeof(addr.bytes));
	return addr;
}

static int found_add(struct pass *pass, const struct inet_diag_msg *diag)
{
	if (pass->found_count == pass->found_room) {
		const size_t room = pass->found_room ? 2 * pass->found_room : 16;
		struct socket_found *found = reallocarray(pass->found, room, sizeof(*found));

		if (!found)
			return -ENOMEM;
		pass->found = found;
		pass->found_room = room;
	}
	pass->found[pass->found_count++] = (struct socket_found){
		.inode = diag->idiag_inode,
		.namespace = pass->namespace,
		.id = diag->id,
		.family = diag->idiag_family,
	};
	return 0;
}

static int socket_message(const struct nlmsghdr *message, void *data)
{
	const struct inet_diag_msg *diag = mnl_nlmsg_get_payload(message);
	struct pass *pass = data;
	struct ip_addr addr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*diag))
		return MNL_CB_OK;
	addr = diag_addr(diag->idiag_family, diag->id.idiag_dst);
	/* Without an inode it has been closed, and is on its way out. */
	if (diag->idiag_inode && is_target(pass, &addr, diag->id.idiag_dport) &&
	    found_add(pass, diag)) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	return MNL_CB_OK;
}

static struct inet_diag_req_v2 *request_init(char *buf, uint16_t type, uint16_t flags, __u8 family)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *body;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	body = mnl_nlmsg_put_extra_header(request, sizeof(*body));
	body->sdiag_family = family;
	body->sdiag_protocol = IPPROTO_UDP;
	return body;
}

static int family_list(struct pass *pass, struct mnl_socket *socket, __u8 family)
{
	char buf[REQUEST_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct inet_diag_req_v2 *body = request_init(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);

	/* A connected UDP socket is in TCP's established state. */
	body->idiag_states = 1U << TCP_ESTABLISHED;
	if (pass->target_count == 1)
		body->id.idiag_dport = pass->targets[0].port;
	return netlink_request(socket, (void *)buf, socket_message, pass);
}

/* In the namespace that the calling thread is in. */
static int here_list(struct pass *pass)
{
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_SOCK_DIAG);
	int err;

	if (!socket)
		return -errno;
	err = family_list(pass, socket, AF_INET);
	if (err)
		return err == -ENOENT ? -EOPNOTSUPP : err; /* no handler: the module is missing */
	err = family_list(pass, socket, AF_INET6);
	return err == -ENOENT ? 0 : err;
}

/* The namespace is entered again where there is a socket to end. */
static int namespace_list(ino_t inode, bool *ret_keep, void *context)
{
	struct pass *pass = context;
	const size_t found_before = pass->found_count;
	int err;

	pass->namespace = inode;
	err = here_list(pass);
	*ret_keep = pass->found_count > found_before;
	return err;
}

static int ack_message(const struct nlmsghdr *message, void *data)
{
	(void)message;
	(void)data;
	return MNL_CB_OK;
}

/*
 * Ends the sockets of the namespace at hand. -ENOENT and -ESTALE: it was closed, or its ports were
 * taken by another one, since it was listed.
 */
static int namespace_destroy(ino_t inode, void *context)
{
	struct pass *pass = context;
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_SOCK_DIAG);

	if (!socket)
		return -errno;
	for (size_t i = 0; i < pass->found_count; i++) {
		char buf[REQUEST_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
		const struct socket_found *found = &pass->found[i];
		struct inet_diag_req_v2 *body;
		int err;

		if (!found->is_ours || found->namespace != inode)
			continue;
		body = request_init(buf, SOCK_DESTROY, NLM_F_ACK, found->family);
		body->id = found->id;
		err = netlink_request(socket, (void *)buf, ack_message, NULL);
		if (!err)
			pass->destroyed++;
		else if (err != -ENOENT && err != -ESTALE)
			return err;
	}
	return 0;
}

static int found_compare(const void *a, const void *b)
{
	const struct socket_found *left = a, *right = b;

	return (left->inode > right->inode) - (left->inode < right->inode);
}

static struct socket_found *found_by_inode(const struct pass *pass, ino_t inode)
{
	const struct socket_found key = {.inode = inode};

	return bsearch(&key, pass->found, pass->found_count, sizeof(key), found_compare);
}

static bool socket_is_wanted(void *context, ino_t inode)
{
	const struct socket_found *found = found_by_inode(context, inode);

	return found && !found->is_asked;
}

static bool state_is_target(const struct pass *pass, const struct socket_state *state)
{
	const struct socket_target key = {
		.addr = state->backend_addr,
		.port = state->backend_port,
		.service = state->service,
	};

	return bsearch(&key, pass->targets, pass->target_count, sizeof(key), target_compare);
}

/* Did our connect hook send this socket where it is connected to, for a Service that left it? */
static void socket_ask(void *context, ino_t inode, int fd)
{
	struct pass *pass = context;
	struct socket_found *found = found_by_inode(pass, inode);
	const struct ip_addr addr = diag_addr(found->family, found->id.idiag_dst);
	struct socket_state state;

	found->is_asked = true;
	found->is_ours = !bpf_map_lookup_elem(pass->socket_state_map, &fd, &state) &&
			 address_equal(&state.backend_addr, &addr) &&
			 state.backend_port == found->id.idiag_dport &&
			 state_is_target(pass, &state);
	pass->is_done = ++pass->asked_count >= pass->found_count;
}

static int found_ask(struct pass *pass)
{
	const struct process_sockets visitor = {
		.is_wanted = socket_is_wanted,
		.visit = socket_ask,
		.context = pass,
	};
	int err;

	qsort(pass->found, pass->found_count, sizeof(*pass->found), found_compare);
	err = process_sockets_visit(&visitor, &pass->is_done);
	if (err == -EPERM)
		return log_err(err, "some UDP sockets keep talking to a backend that has left: the "
				    "agent needs CAP_SYS_PTRACE to see them");
	return err;
}

static int pass_run(struct pass *pass)
{
	const struct namespace_visitor visitor = {
		.look = namespace_list,
		.purpose = "look for stale UDP sockets",
		.context = pass,
	};
	int err = namespaces_visit(&pass->namespaces, &visitor);
	int ask_err;

	if (err || !pass->found_count)
		return err;
	ask_err = found_ask(pass);
	err = namespaces_revisit(&pass->namespaces, namespace_destroy, pass);
	return err ? err : ask_err;
}

static void pass_fini(struct pass *pass)
{
	namespaces_fini(&pass->namespaces);
	free(pass->targets);
	free(pass->found);
}

int sockets_destroy_udp(int socket_state_map, const struct socket_target *targets, size_t count,
			unsigned int *ret_count)
{
	auto_cleanup(pass_fini) struct pass pass = {
		.socket_state_map = socket_state_map,
		.namespaces = {.own = -1},
		.target_count = count,
	};
	int err;

	*ret_count = 0;
	if (!count)
		return 0;
	pass.targets = calloc(count, sizeof(*pass.targets));
	if (!pass.targets)
		return -ENOMEM;
	memcpy(pass.targets, targets, count * sizeof(*targets));
	qsort(pass.targets, count, sizeof(*pass.targets), target_compare);
	err = namespaces_init(&pass.namespaces);
	if (err)
		return err;
	err = pass_run(&pass);
	*ret_count = pass.destroyed;
	return err;
}
