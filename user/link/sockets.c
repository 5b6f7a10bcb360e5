/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/sockets.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#include "address.h"
#include "cleanup.h"
#include "link/netlink.h"
#include "log.h"

#define REQUEST_BUFFER_SIZE 256

/* A network namespace that was looked into. */
struct namespace_seen {
	ino_t inode;
	UT_hash_handle hh;
};

struct socket_found {
	__u8 family;
	struct inet_diag_sockid id;
};

/* One pass over all namespaces. */
struct pass {
	int socket_state_map;
	struct socket_target *targets; /* sorted */
	size_t target_count;
	struct namespace_seen *seen;
	struct socket_found *found; /* in the namespace at hand */
	size_t found_count;
	size_t found_room;
	unsigned int destroyed;
};

static int target_compare(const void *a, const void *b)
{
	const struct socket_target *left = a, *right = b;
	const int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : memcmp(&left->port, &right->port, sizeof(left->port));
}

static bool is_target(const struct pass *pass, const struct ip_addr *addr, __be16 port)
{
	const struct socket_target key = {.addr = *addr, .port = port};

	return bsearch(&key, pass->targets, pass->target_count, sizeof(key), target_compare);
}

static struct ip_addr diag_addr(__u8 family, const __be32 words[4])
{
	struct ip_addr addr;

	if (family == AF_INET)
		return address_from_ipv4(words[0]);
	memcpy(addr.bytes, words, sizeof(addr.bytes));
	return addr;
}

/* The map's value in the answer, or NULL: INET_DIAG_SK_BPF_STORAGES > SK_DIAG_BPF_STORAGE > value.
 */
static const struct nlattr *storage_value(const struct nlattr *storages)
{
	const struct nlattr *storage, *attr;

	mnl_attr_for_each_nested(storage, storages)
	{
		if (mnl_attr_get_type(storage) != SK_DIAG_BPF_STORAGE)
			continue;
		mnl_attr_for_each_nested(attr, storage)
		{
			if (mnl_attr_get_type(attr) == SK_DIAG_BPF_STORAGE_MAP_VALUE)
				return attr;
		}
	}
	return NULL;
}

/* Did our connect hook send this socket where it is connected to? */
static bool storage_matches(const struct nlattr *storages, const struct ip_addr *addr, __be16 port)
{
	const struct nlattr *value = storage_value(storages);
	struct socket_state state;

	if (!value || mnl_attr_get_payload_len(value) < sizeof(state))
		return false;
	memcpy(&state, mnl_attr_get_payload(value), sizeof(state));
	return address_equal(&state.backend_addr, addr) && state.backend_port == port;
}

static int found_add(struct pass *pass, __u8 family, const struct inet_diag_sockid *id)
{
	if (pass->found_count == pass->found_room) {
		const size_t room = pass->found_room ? 2 * pass->found_room : 16;
		struct socket_found *found = reallocarray(pass->found, room, sizeof(*found));

		if (!found)
			return -ENOMEM;
		pass->found = found;
		pass->found_room = room;
	}
	pass->found[pass->found_count++] = (struct socket_found){.family = family, .id = *id};
	return 0;
}

static int socket_message(const struct nlmsghdr *message, void *data)
{
	const struct inet_diag_msg *diag = mnl_nlmsg_get_payload(message);
	struct pass *pass = data;
	const struct nlattr *attr;
	struct ip_addr addr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*diag))
		return MNL_CB_OK;
	addr = diag_addr(diag->idiag_family, diag->id.idiag_dst);
	if (!is_target(pass, &addr, diag->id.idiag_dport))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, message, sizeof(*diag))
	{
		if (mnl_attr_get_type(attr) != INET_DIAG_SK_BPF_STORAGES ||
		    !storage_matches(attr, &addr, diag->id.idiag_dport))
			continue;
		if (found_add(pass, diag->idiag_family, &diag->id)) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
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

static int family_find(struct pass *pass, struct mnl_socket *socket, __u8 family)
{
	char buf[REQUEST_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct inet_diag_req_v2 *body = request_init(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
	struct nlmsghdr *request = (void *)buf;
	struct nlattr *storages;

	/* A connected UDP socket is in TCP's established state. */
	body->idiag_states = 1U << TCP_ESTABLISHED;
	if (pass->target_count == 1)
		body->id.idiag_dport = pass->targets[0].port;
	storages = mnl_attr_nest_start(request, INET_DIAG_REQ_SK_BPF_STORAGES);
	mnl_attr_put_u32(request, SK_DIAG_BPF_STORAGE_REQ_MAP_FD, (uint32_t)pass->socket_state_map);
	mnl_attr_nest_end(request, storages);
	return netlink_request(socket, request, socket_message, pass);
}

static int ack_message(const struct nlmsghdr *message, void *data)
{
	(void)message;
	(void)data;
	return MNL_CB_OK;
}

/* -ENOENT and -ESTALE: it was closed, or its port was taken by another one, since it was found. */
static int found_destroy(struct pass *pass, struct mnl_socket *socket)
{
	for (size_t i = 0; i < pass->found_count; i++) {
		char buf[REQUEST_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
		struct inet_diag_req_v2 *body =
			request_init(buf, SOCK_DESTROY, NLM_F_ACK, pass->found[i].family);
		int err;

		body->id = pass->found[i].id;
		err = netlink_request(socket, (void *)buf, ack_message, NULL);
		if (!err)
			pass->destroyed++;
		else if (err != -ENOENT && err != -ESTALE)
			return err;
	}
	return 0;
}

/* In the namespace that the calling thread is in. */
static int namespace_search(struct pass *pass)
{
	auto_cleanup(netlink_closep) struct mnl_socket *socket = netlink_open(NETLINK_SOCK_DIAG);
	int err;

	if (!socket)
		return -errno;
	pass->found_count = 0;
	err = family_find(pass, socket, AF_INET);
	if (err)
		return err == -ENOENT ? -EOPNOTSUPP : err; /* no handler: the module is missing */
	err = family_find(pass, socket, AF_INET6);
	if (err && err != -ENOENT)
		return err;
	return found_destroy(pass, socket);
}

/* Returns false where it was seen before, or no memory is left to remember it. */
static bool namespace_is_new(struct pass *pass, ino_t inode)
{
	struct namespace_seen *seen;

	HASH_FIND(hh, pass->seen, &inode, sizeof(inode), seen);
	if (seen)
		return false;
	seen = calloc(1, sizeof(*seen));
	if (!seen)
		return false;
	seen->inode = inode;
	HASH_ADD(hh, pass->seen, inode, sizeof(seen->inode), seen);
	return true;
}

/*
 * Looks into the namespace that `path` names, unless that was done. One that cannot be entered does
 * not keep the others waiting; that the kernel lacks what it takes ends the pass.
 */
static int path_search(struct pass *pass, int own, const char *path)
{
	auto_cleanup(cleanup_fd) int namespace = -1;
	struct stat status;
	int err;

	/* Asked before it is opened: most processes share a few namespaces. */
	if (stat(path, &status) || !namespace_is_new(pass, status.st_ino))
		return 0;
	namespace = open(path, O_RDONLY | O_CLOEXEC);
	if (namespace < 0)
		return 0; /* its last process has just ended */
	if (setns(namespace, CLONE_NEWNET))
		/* A name that nothing is mounted on any more is a plain file. */
		return errno == EINVAL ? 0 : log_err(-errno, "cannot enter %s", path);
	err = namespace_search(pass);
	if (setns(own, CLONE_NEWNET)) {
		(void)log_err(-errno, "cannot come back from the network namespace %s", path);
		abort(); /* everything that follows would be done to another node */
	}
	if (err == -EOPNOTSUPP || err == -ENOMEM)
		return err;
	if (err)
		(void)log_err(err, "cannot end stale UDP sockets in the namespace %s, continuing",
			      path);
	return 0;
}

static void cleanup_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* Searches DIR/<entry>SUFFIX for every entry whose name begins as `is_wanted` likes it. */
static int directory_search(struct pass *pass, int own, const char *dir, const char *suffix,
			    int (*is_wanted)(int character))
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(dir);
	const struct dirent *entry;

	if (!entries)
		return errno == ENOENT ? 0 : log_err(-errno, "cannot read %s", dir);
	while ((entry = readdir(entries))) {
		char path[PATH_MAX];
		int err;

		if (!is_wanted((unsigned char)entry->d_name[0]))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s%s", dir, entry->d_name, suffix);
		err = path_search(pass, own, path);
		if (err)
			return err;
	}
	return 0;
}

static int is_name(int character)
{
	return character != '.';
}

static int namespaces_search(struct pass *pass)
{
	auto_cleanup(cleanup_fd) int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct stat status;
	int err;

	if (own < 0 || fstat(own, &status))
		return log_err(-errno, "cannot name the agent's own network namespace");
	(void)namespace_is_new(pass, status.st_ino);
	err = namespace_search(pass);
	if (err)
		return err;
	err = directory_search(pass, own, "/proc", "/ns/net", isdigit);
	return err ? err : directory_search(pass, own, "/run/netns", "", is_name);
}

int sockets_destroy_udp(int socket_state_map, const struct socket_target *targets, size_t count,
			unsigned int *ret_count)
{
	auto_cleanup(cleanup_free) struct socket_target *sorted = NULL;
	struct pass pass = {.socket_state_map = socket_state_map, .target_count = count};
	struct namespace_seen *seen, *next;
	int err;

	*ret_count = 0;
	if (!count)
		return 0;
	sorted = calloc(count, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, targets, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), target_compare);
	pass.targets = sorted;
	err = namespaces_search(&pass);
	*ret_count = pass.destroyed;
	HASH_ITER (hh, pass.seen, seen, next) {
		HASH_DEL(pass.seen, seen);
		free(seen);
	}
	free(pass.found);
	return err;
}
