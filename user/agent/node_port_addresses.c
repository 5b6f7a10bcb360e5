/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/node_port_addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "model/cidr.h"

#define FAMILIES 2

static const enum ip_family families[FAMILIES] = {FAMILY_IPV4, FAMILY_IPV6};

/* True if it can be the node's own address: 0.0.0.0 only says that IPv4 is the primary family. */
static bool address_is_real(const struct ip_addr *addr)
{
	static const struct ip_addr any = {.bytes = {[10] = 0xff, [11] = 0xff}};

	return !address_is_zero(addr) && !address_equal(addr, &any) && !address_is_loopback(addr);
}

static struct ip_addr node_ip(const struct node_facts *facts, size_t family)
{
	const struct ip_addr *bound = &facts->traffic->bind_address;
	const struct node_object *node = facts->node;

	if (address_is_real(bound) && address_family(bound) == families[family])
		return *bound;
	for (size_t i = 0; node && i < node->internal_ip_count; i++) {
		if (address_family(&node->internal_ips[i]) == families[family])
			return node->internal_ips[i];
	}
	/* A known Node without an address of a family has none: do not guess. */
	return node && node->internal_ip_count ? (struct ip_addr){} : facts->guesses[family];
}

static bool family_has_cidr(const struct traffic_options *traffic, enum ip_family family)
{
	for (size_t i = 0; i < traffic->nodeport_address_count; i++) {
		if (cidr_family(&traffic->nodeport_addresses[i]) == family)
			return true;
	}
	return false;
}

static bool address_is_listed(const struct traffic_options *traffic, const struct ip_addr *addr)
{
	/* Rule B35: a family without any of the CIDRs is not restricted. */
	if (!family_has_cidr(traffic, address_family(addr)))
		return true;
	for (size_t i = 0; i < traffic->nodeport_address_count; i++) {
		if (cidr_has(&traffic->nodeport_addresses[i], addr))
			return true;
	}
	return false;
}

static void address_add(struct node_port_addresses *ports, const struct ip_addr *addr)
{
	ports->addresses[ports->count++] = *addr;
}

static int address_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

static void addresses_sort(struct node_port_addresses *ports)
{
	size_t kept = 0;

	if (ports->count)
		qsort(ports->addresses, ports->count, sizeof(*ports->addresses), address_compare);
	for (size_t i = 0; i < ports->count; i++) {
		if (!kept || !address_equal(&ports->addresses[kept - 1], &ports->addresses[i]))
			ports->addresses[kept++] = ports->addresses[i];
	}
	ports->count = kept;
}

static void primary_add(struct node_port_addresses *ports)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		if (!address_is_zero(&ports->node_ips[i]))
			address_add(ports, &ports->node_ips[i]);
	}
}

static void assigned_add(const struct node_facts *facts, bool all,
			 struct node_port_addresses *ports)
{
	for (size_t i = 0; i < facts->assigned_count; i++) {
		if (all || address_is_listed(facts->traffic, &facts->assigned[i]))
			address_add(ports, &facts->assigned[i]);
	}
}

int node_port_addresses_choose(const struct node_facts *facts,
			       struct node_port_addresses *ret_ports)
{
	static const struct ip_addr loopbacks[FAMILIES] = {
		{.bytes = {[10] = 0xff, [11] = 0xff, [12] = IN_LOOPBACKNET, [15] = 1}},
		{.bytes = {[15] = 1}},
	};

	*ret_ports = (struct node_port_addresses){};
	ret_ports->addresses =
		calloc(facts->assigned_count + 2 * FAMILIES, sizeof(*ret_ports->addresses));
	if (!ret_ports->addresses)
		return -ENOMEM;
	for (size_t i = 0; i < FAMILIES; i++)
		ret_ports->node_ips[i] = node_ip(facts, i);
	if (facts->traffic->is_nodeport_all)
		assigned_add(facts, true, ret_ports);
	else if (facts->traffic->nodeport_address_count)
		assigned_add(facts, false, ret_ports);
	else
		primary_add(ret_ports);
	/* Rule B36: the primary addresses are unknown, so use all. */
	if (!ret_ports->count && !facts->traffic->nodeport_address_count)
		assigned_add(facts, true, ret_ports);
	for (size_t i = 0; facts->with_loopback && i < FAMILIES; i++)
		address_add(ret_ports, &loopbacks[i]);
	addresses_sort(ret_ports);
	return 0;
}

void node_port_addresses_fini(struct node_port_addresses *ports)
{
	free(ports->addresses);
	*ports = (struct node_port_addresses){};
}

bool node_port_addresses_equal(const struct node_port_addresses *a,
			       const struct node_port_addresses *b)
{
	return a->count == b->count &&
	       (!a->count ||
		!memcmp(a->addresses, b->addresses, a->count * sizeof(*a->addresses))) &&
	       !memcmp(a->node_ips, b->node_ips, sizeof(a->node_ips));
}

static bool address_of(const struct sockaddr *sockaddr, struct ip_addr *ret_addr)
{
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;

	if (sockaddr && sockaddr->sa_family == AF_INET) {
		memcpy(&ipv4, sockaddr, sizeof(ipv4));
		*ret_addr = address_from_ipv4(ipv4.sin_addr.s_addr);
	} else if (sockaddr && sockaddr->sa_family == AF_INET6) {
		memcpy(&ipv6, sockaddr, sizeof(ipv6));
		memcpy(ret_addr, &ipv6.sin6_addr, sizeof(*ret_addr));
		if (IN6_IS_ADDR_LINKLOCAL(&ipv6.sin6_addr))
			return false;
	} else {
		return false;
	}
	return !address_is_loopback(ret_addr);
}

static void cleanup_ifaddrs(struct ifaddrs **list)
{
	if (*list)
		freeifaddrs(*list);
}

int node_addresses_read(struct ip_addr **ret_addresses, size_t *ret_count)
{
	auto_cleanup(cleanup_ifaddrs) struct ifaddrs *list = NULL;
	const struct ifaddrs *item;
	size_t count = 0;

	*ret_addresses = NULL;
	*ret_count = 0;
	if (getifaddrs(&list))
		return -errno;
	for (item = list; item; item = item->ifa_next)
		count++;
	*ret_addresses = calloc(count + 1, sizeof(**ret_addresses));
	if (!*ret_addresses)
		return -ENOMEM;
	for (item = list; item; item = item->ifa_next)
		*ret_count += address_of(item->ifa_addr, &(*ret_addresses)[*ret_count]);
	return 0;
}
