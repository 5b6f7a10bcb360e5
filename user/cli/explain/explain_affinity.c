/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The client's last backend. The socket hooks remember it per network namespace, the packet hooks
 * per source address: for a process, whose connect() decides, search for the namespace that has its
 * address.
 */

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "cli/explain/explain_answer.h"
#include "link/netlink/namespaces.h"
#include "base/netns.h"

struct search {
	const struct maps *maps;
	const struct ip_addr *client;
	__u32 service;
	bool is_found;
	struct affinity *affinity;
};

static bool entry_find(const struct maps *maps, const struct affinity_key *key,
		       struct affinity *ret_affinity)
{
	return !bpf_map_lookup_elem(maps->items[MAP_AFFINITY].fd, key, ret_affinity);
}

static bool entry_find_netns(const struct search *search, __u64 cookie)
{
	struct affinity_key key = {.service = search->service, .client_kind = AFFINITY_NETNS};

	memcpy(key.client.bytes, &cookie, sizeof(cookie));
	return cookie && entry_find(search->maps, &key, search->affinity);
}

/* True if this network namespace has the address: bind() fails in all others. */
static bool namespace_has(const struct ip_addr *addr)
{
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET};
	bool is_ipv4 = address_is_ipv4(addr);
	auto_cleanup(cleanup_fd) int fd =
		socket(is_ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(&ipv4.sin_addr, addr->bytes + 12, sizeof(ipv4.sin_addr));
	memcpy(&ipv6.sin6_addr, addr->bytes, sizeof(ipv6.sin6_addr));
	if (fd < 0)
		return false;
	return is_ipv4 ? !bind(fd, (const struct sockaddr *)&ipv4, sizeof(ipv4))
		       : !bind(fd, (const struct sockaddr *)&ipv6, sizeof(ipv6));
}

static int namespace_look(ino_t inode, bool *ret_keep, void *context)
{
	struct search *search = context;

	(void)inode;
	(void)ret_keep;
	if (!search->is_found && namespace_has(search->client))
		search->is_found = entry_find_netns(search, netns_cookie());
	return 0;
}

static void namespaces_search(struct search *search)
{
	auto_cleanup(namespaces_fini) struct namespaces namespaces = {};
	const struct namespace_visitor visitor = {
		.look = namespace_look, .purpose = "look for the client", .context = search};

	(void)namespaces_visit(&namespaces, &visitor);
}

bool affinity_find(const struct maps *maps, const struct answer *answer, __u64 node_cookie,
		   struct affinity *ret_affinity)
{
	const struct affinity_key key = {.client = answer->tuple.src,
					 .service = answer->target.service};
	const struct place *place = &answer->place;
	struct search search = {
		.maps = maps,
		.client = &answer->tuple.src,
		.service = answer->target.service,
		.affinity = ret_affinity,
	};

	if (place->has_socket_hooks && place->is_egress)
		search.is_found = entry_find_netns(&search, node_cookie);
	else if (place->has_socket_hooks && place->has_info && place->info.role == LINK_POD)
		namespaces_search(&search);
	return search.is_found || entry_find(maps, &key, ret_affinity);
}
