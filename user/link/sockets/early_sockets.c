/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/sockets/early_sockets.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "link/sockets/process_sockets.h"
#include "link/sockets/udp_sockets.h"

/* A connected socket whose peer is now a frontend. */
struct candidate {
	struct udp_socket socket;
	bool is_done; /* or another socket of the namespace owns its peer's address and port */
};

struct search {
	const struct early_sockets_options *options;
	struct candidate *candidates;
	size_t count, room;
	size_t left; /* candidates not done yet */
	bool is_done;
	unsigned int reconnected;
};

static bool is_unspecified(const struct ip_addr *addr)
{
	const struct ip_addr ipv4 = address_from_ipv4(htonl(INADDR_ANY));

	return address_is_zero(addr) || address_equal(addr, &ipv4);
}

/* True if `addr` and `port` are a UDP frontend, and packets to it would not meet the TC hooks. */
static bool is_missed(const struct early_sockets_options *options, const struct ip_addr *addr,
		      __be16 port)
{
	struct frontend frontend = {.vip = *addr, .port = port, .proto = IPPROTO_UDP};
	struct frontend_target target;
	struct address_info info;

	if (address_is_loopback(addr)) {
		frontend.vip = address_loopback(address_family(addr));
		return !bpf_map_lookup_elem(options->frontends_map, &frontend, &target);
	}
	if (bpf_map_lookup_elem(options->frontends_map, &frontend, &target))
		return false;
	return !options->with_tc || (!bpf_map_lookup_elem(options->addresses_map, addr, &info) &&
				     info.flags & ADDRESS_NODE);
}

static int candidate_add(void *context, const struct udp_socket *socket)
{
	struct search *search = context;
	int err;

	if (!socket->inode || !is_missed(search->options, &socket->peer, socket->peer_port))
		return 0;
	err = array_reserve(&search->candidates, &search->room, search->count,
			    sizeof(*search->candidates));
	if (err)
		return err;
	search->candidates[search->count++] = (struct candidate){.socket = *socket};
	return 0;
}

/* An IPv6 socket bound to the unspecified address may receive IPv4 as well. */
static bool has_place(const struct udp_socket *socket, const struct ip_addr *addr, __be16 port)
{
	if (socket->local_port != port)
		return false;
	if (is_unspecified(&socket->local))
		return socket->family == AF_INET6 || address_is_ipv4(addr);
	return address_equal(&socket->local, addr);
}

/* Excludes the candidates whose peer's address and port this socket owns. */
static int holder_exclude(void *context, const struct udp_socket *socket)
{
	struct search *search = context;

	for (size_t i = 0; i < search->count; i++) {
		struct candidate *candidate = &search->candidates[i];

		if (has_place(socket, &candidate->socket.peer, candidate->socket.peer_port))
			candidate->is_done = true;
	}
	return 0;
}

static struct candidate *candidate_by_inode(struct search *search, ino_t inode)
{
	for (size_t i = 0; i < search->count; i++) {
		if (search->candidates[i].socket.inode == inode && !search->candidates[i].is_done)
			return &search->candidates[i];
	}
	return NULL;
}

static bool is_wanted(void *context, ino_t inode)
{
	return candidate_by_inode(context, inode);
}

union socket_address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static bool is_connected_to(int fd, const union socket_address *peer)
{
	union socket_address found = {};
	socklen_t size = sizeof(found);

	if (getpeername(fd, &found.any, &size) || found.any.sa_family != peer->any.sa_family)
		return false;
	if (peer->any.sa_family == AF_INET)
		return found.ipv4.sin_port == peer->ipv4.sin_port &&
		       found.ipv4.sin_addr.s_addr == peer->ipv4.sin_addr.s_addr;
	return found.ipv6.sin6_port == peer->ipv6.sin6_port &&
	       IN6_ARE_ADDR_EQUAL(&found.ipv6.sin6_addr, &peer->ipv6.sin6_addr);
}

static union socket_address peer_of(const struct udp_socket *socket)
{
	union socket_address peer = {};

	if (socket->family == AF_INET) {
		peer.ipv4.sin_family = AF_INET;
		peer.ipv4.sin_port = socket->peer_port;
		memcpy(&peer.ipv4.sin_addr, &socket->peer.bytes[12], sizeof(peer.ipv4.sin_addr));
	} else {
		peer.ipv6.sin6_family = AF_INET6;
		peer.ipv6.sin6_port = socket->peer_port;
		memcpy(&peer.ipv6.sin6_addr, socket->peer.bytes, sizeof(peer.ipv6.sin6_addr));
	}
	return peer;
}

/*
 * A second connect() would keep the source address chosen by the first one; disconnecting
 * (AF_UNSPEC) clears it.
 */
static void candidate_reconnect(void *context, ino_t inode, int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	struct search *search = context;
	struct candidate *candidate = candidate_by_inode(search, inode);
	const union socket_address peer = peer_of(&candidate->socket);

	candidate->is_done = true;
	search->is_done = !--search->left;
	if (!is_connected_to(fd, &peer)) /* it has been reconnected or closed since */
		return;
	if (address_is_loopback(&candidate->socket.local) && connect(fd, &nobody, sizeof(nobody)))
		return;
	if (!connect(fd, &peer.any, sizeof(peer)))
		search->reconnected++;
}

static int candidates_find(struct search *search)
{
	const struct udp_sockets connected = {
		.states = UDP_CONNECTED, .visit = candidate_add, .context = search};
	const struct udp_sockets all = {.states = UDP_CONNECTED | UDP_UNCONNECTED,
					.visit = holder_exclude,
					.context = search};
	int err;

	err = udp_sockets_list(&connected);
	if (err || !search->count)
		return err;
	err = udp_sockets_list(&all);
	if (err)
		return err;
	for (size_t i = 0; i < search->count; i++)
		search->left += !search->candidates[i].is_done;
	return 0;
}

static void search_fini(struct search *search)
{
	free(search->candidates);
}

int early_sockets_reconnect(const struct early_sockets_options *options, unsigned int *ret_count)
{
	auto_cleanup(search_fini) struct search search = {.options = options};
	const struct process_sockets visitor = {
		.is_wanted = is_wanted,
		.visit = candidate_reconnect,
		.context = &search,
	};
	int err;

	*ret_count = 0;
	err = candidates_find(&search);
	if (err || !search.left)
		return err;
	err = process_sockets_visit(&visitor, &search.is_done);
	*ret_count = search.reconnected;
	return err;
}
