/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Near or far: repeats the lookups of bpf/service/client.h, and gives the reason for the result.
 *
 * Affinity: the socket hooks remember the client's last backend per network namespace, the packet
 * hooks per source address. For a process, whose connect() decides, search for the namespace that
 * has its address.
 */

#include "cli/explain/explain_client.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "base/netns.h"
#include "base/text.h"
#include "words/words.h"
#include "link/netlink/namespaces.h"

static bool range_has(const struct near_range *range, const struct ip_addr *addr)
{
	for (__u32 bit = 0; bit < range->prefix && bit < 128; bit++) {
		__u8 mask = (__u8)(0x80U >> bit % 8);

		if ((range->addr.bytes[bit / 8] ^ addr->bytes[bit / 8]) & mask)
			return false;
	}
	return true;
}

struct range_search {
	const struct ip_addr *addr;
	struct near_range found;
	bool is_found;
};

static void range_search_on_range(const void *key, const void *value, void *context)
{
	struct range_search *search = context;
	const struct near_range *range = key;

	(void)value;
	if (!range_has(range, search->addr) ||
	    (search->is_found && range->prefix < search->found.prefix))
		return;
	search->found = *range;
	search->is_found = true;
}

/* Near if a range contains the address; the longest one is the reason. */
static bool near_by_range(const struct instance *instance, const struct ip_addr *addr,
			  char why[CLIENT_WHY_SIZE])
{
	struct range_search search = {.addr = addr};
	char text[ADDRESS_TEXT_SIZE];

	(void)map_each(instance_table(instance, MAP_NEAR_RANGES), range_search_on_range, &search);
	if (!search.is_found) {
		(void)snprintf(why, CLIENT_WHY_SIZE, "its address is in no range of pods");
		return false;
	}
	(void)snprintf(why, CLIENT_WHY_SIZE, "its address is in the range %s/%u",
		       address_format(&search.found.addr, text),
		       search.found.prefix - (address_is_ipv4(&search.found.addr) ? 96 : 0));
	return true;
}

static bool near_by_link(const struct place *place, char why[CLIENT_WHY_SIZE])
{
	char rule[sizeof(place->info.why) + 1];

	if (!place->has_info) {
		(void)snprintf(why, CLIENT_WHY_SIZE, "the agent does not know link %s",
			       place->link);
		return false;
	}
	(void)text_of_array(place->info.why, rule);
	(void)snprintf(why, CLIENT_WHY_SIZE, "link %s %s (%s: %s)", place->link,
		       place->info.is_near ? "leads to pods of this node"
					   : "does not lead to pods of this node",
		       link_role_word(place->info.role), rule);
	return place->info.is_near;
}

bool client_is_near(const struct instance *instance, const struct place *place,
		    const struct ip_addr *client, char ret_why[CLIENT_WHY_SIZE])
{
	if (place->is_local) {
		(void)snprintf(ret_why, CLIENT_WHY_SIZE, "its address is one of this node");
		return true;
	}
	if (instance && instance_config(instance)->near_by == NEAR_BY_RANGE)
		return near_by_range(instance, client, ret_why);
	return near_by_link(place, ret_why);
}

struct affinity_search {
	const struct shown_maps *maps;
	const struct affinity_key *key; /* of the client's address */
	bool is_found;
	struct affinity *affinity;
};

static bool affinity_lookup(const struct shown_maps *maps, const struct affinity_key *key,
			    struct affinity *ret_affinity)
{
	return !bpf_map_lookup_elem(maps->items[MAP_AFFINITY].fd, key, ret_affinity);
}

static bool affinity_lookup_netns(const struct affinity_search *search, __u64 cookie)
{
	struct affinity_key key = {.service = search->key->service, .client_kind = AFFINITY_NETNS};

	memcpy(key.client.bytes, &cookie, sizeof(cookie));
	return cookie && affinity_lookup(search->maps, &key, search->affinity);
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

static int affinity_on_namespace(ino_t inode, bool *ret_keep, void *context)
{
	struct affinity_search *search = context;

	(void)inode;
	(void)ret_keep;
	if (!search->is_found && namespace_has(&search->key->client))
		search->is_found = affinity_lookup_netns(search, netns_cookie());
	return 0;
}

bool client_find_affinity(const struct shown_maps *maps, const struct place *place,
			  const struct affinity_key *key, __u64 node_cookie,
			  struct affinity *ret_affinity)
{
	struct affinity_search search = {.maps = maps, .key = key, .affinity = ret_affinity};

	if (place->has_socket_hooks && place->is_egress) {
		search.is_found = affinity_lookup_netns(&search, node_cookie);
	} else if (place->has_socket_hooks && place->has_info && place->info.role == LINK_POD) {
		auto_cleanup(namespaces_fini) struct namespaces namespaces = {};
		const struct namespace_visitor visitor = {.look = affinity_on_namespace,
							  .purpose = "look for the client",
							  .context = &search};

		(void)namespaces_visit(&namespaces, &visitor);
	}
	return search.is_found || affinity_lookup(maps, key, ret_affinity);
}
