/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three steps, so that any number of targets and namespaces costs one walk per step:
 *
 * 1. In each network namespace the kernel lists the UDP sockets that are connected to a target.
 *    Usually there is none, and the pass ends here.
 * 2. Find those that we connected. The kernel does not list the socket storage of UDP sockets
 *    (INET_DIAG_SK_BPF_STORAGES is TCP only), but looks it up by a descriptor of the socket: /proc
 *    leads to the processes that hold the sockets, and pidfd_getfd() duplicates their descriptors.
 * 3. Destroy those, each in its namespace, by the cookie from the list.
 */
#include "link/sockets/sockets.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "link/netlink/namespaces.h"
#include "link/netlink/netlink.h"
#include "link/sockets/process_sockets.h"
#include "link/sockets/udp_sockets.h"

struct socket_found {
	struct udp_socket socket;
	ino_t namespace;
	bool is_checked; /* its storage was checked; several processes may hold the socket */
	bool is_ours;    /* it must be destroyed */
};

/* One pass over all namespaces. */
struct pass {
	int socket_state_map;
	struct socket_target *targets; /* sorted */
	size_t target_count;
	struct namespaces namespaces;
	ino_t namespace; /* the one being visited */
	struct socket_found *found;
	size_t found_count;
	size_t found_room;
	size_t checked_count;
	bool is_done; /* the storage of every socket found was checked */
	unsigned int destroyed;
};

/* Compares backends only: the kernel's list shows nothing else of a target. */
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

static int found_add(void *context, const struct udp_socket *socket)
{
	struct pass *pass = context;
	int err;

	if (!socket->inode || !is_target(pass, &socket->peer, socket->peer_port))
		return 0;
	err = array_reserve(&pass->found, &pass->found_room, pass->found_count,
			    sizeof(*pass->found));
	if (err)
		return err;
	pass->found[pass->found_count++] =
		(struct socket_found){.socket = *socket, .namespace = pass->namespace};
	return 0;
}

/* Keeps the namespace to be entered again if it has a socket that may have to be destroyed. */
static int namespace_list(ino_t inode, bool *ret_keep, void *context)
{
	struct pass *pass = context;
	const struct udp_sockets list = {
		.states = UDP_CONNECTED,
		.peer_port = pass->target_count == 1 ? pass->targets[0].port : 0,
		.visit = found_add,
		.context = pass,
	};
	const size_t found_before = pass->found_count;
	int err;

	pass->namespace = inode;
	err = udp_sockets_list(&list);
	*ret_keep = pass->found_count > found_before;
	return err;
}

/*
 * Tries once to destroy each marked socket of the namespace. `*ret_missed`: for some, the kernel
 * found another socket with the same addresses and ports.
 */
static int found_destroy(struct pass *pass, ino_t namespace, struct mnl_socket *netlink,
			 bool *ret_missed)
{
	*ret_missed = false;
	for (size_t i = 0; i < pass->found_count; i++) {
		struct socket_found *found = &pass->found[i];
		int err;

		if (!found->is_ours || found->namespace != namespace)
			continue;
		err = udp_socket_destroy(netlink, found->socket.family, &found->socket.id);
		if (!err) {
			found->is_ours = false;
			pass->destroyed++;
		} else if (err == -ENOENT || err == -ESTALE) {
			*ret_missed = true;
		} else {
			return err;
		}
	}
	return 0;
}

/*
 * Destroys the marked sockets of the current namespace. Sockets of an SO_REUSEPORT group share all
 * addresses and ports, and each request finds only one of them: so the others are retried as long
 * as some were destroyed. Whatever is left then was closed after it was listed.
 */
static int namespace_destroy(ino_t inode, void *context)
{
	auto_cleanup(netlink_closep) struct mnl_socket *netlink = netlink_open(NETLINK_SOCK_DIAG);
	struct pass *pass = context;
	unsigned int before;
	bool missed;
	int err;

	if (!netlink)
		return -errno;
	do {
		before = pass->destroyed;
		err = found_destroy(pass, inode, netlink, &missed);
	} while (!err && missed && pass->destroyed > before);
	return err;
}

static int found_compare(const void *a, const void *b)
{
	const struct socket_found *left = a, *right = b;

	return (left->socket.inode > right->socket.inode) -
	       (left->socket.inode < right->socket.inode);
}

static struct socket_found *found_by_inode(const struct pass *pass, ino_t inode)
{
	const struct socket_found key = {.socket.inode = inode};

	return bsearch(&key, pass->found, pass->found_count, sizeof(key), found_compare);
}

static bool socket_is_wanted(void *context, ino_t inode)
{
	const struct socket_found *found = found_by_inode(context, inode);

	return found && !found->is_checked;
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

/*
 * Whether our connect hook connected this socket to its peer, for a Service that has lost this
 * backend.
 */
static void socket_check_storage(void *context, ino_t inode, int fd)
{
	struct pass *pass = context;
	struct socket_found *found = found_by_inode(pass, inode);
	struct socket_state state;

	found->is_checked = true;
	found->is_ours = !bpf_map_lookup_elem(pass->socket_state_map, &fd, &state) &&
			 address_equal(&state.backend_addr, &found->socket.peer) &&
			 state.backend_port == found->socket.peer_port &&
			 state_is_target(pass, &state);
	pass->is_done = ++pass->checked_count >= pass->found_count;
}

static int found_check_storage(struct pass *pass)
{
	const struct process_sockets visitor = {
		.is_wanted = socket_is_wanted,
		.visit = socket_check_storage,
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
	int check_err;

	if (err || !pass->found_count)
		return err;
	check_err = found_check_storage(pass);
	err = namespaces_revisit(&pass->namespaces, namespace_destroy, pass);
	return err ? err : check_err;
}

static void pass_fini(struct pass *pass)
{
	namespaces_fini(&pass->namespaces);
	free(pass->targets);
	free(pass->found);
}

int sockets_abort_udp(int socket_state_map, const struct socket_target *targets, size_t count,
		      unsigned int *ret_count)
{
	auto_cleanup(pass_fini) struct pass pass = {
		.socket_state_map = socket_state_map,
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
	err = pass_run(&pass);
	*ret_count = pass.destroyed;
	return err;
}
