/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/traffic.h"

#include <errno.h>
#include <string.h>

#include "address.h"

#define CIDR_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("/128"))

int local_mode_parse(const char *name, enum local_mode *ret_mode)
{
	static const struct {
		const char *name;
		enum local_mode mode;
	} modes[] = {
		{"", LOCAL_CLUSTER_CIDR},
		{"ClusterCIDR", LOCAL_CLUSTER_CIDR},
		{"NodeCIDR", LOCAL_NODE_CIDR},
		{"BridgeInterface", LOCAL_BRIDGE_INTERFACE},
		{"InterfaceNamePrefix", LOCAL_INTERFACE_NAME_PREFIX},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		*ret_mode = modes[i].mode;
		if (!strcmp(name, modes[i].name))
			return 0;
	}
	return -EINVAL;
}

int traffic_cidr_parse(const char *text, struct cidr *ret_cidr)
{
	if (!strchr(text, '/'))
		return -EINVAL;
	return cidr_parse(text, &ret_cidr->addr, &ret_cidr->prefix);
}

/* The part of a list before the next comma, which `*text` goes behind; NULL behind the last. */
static int part_next(const char **text, struct cidr *ret_cidr)
{
	size_t length = strcspn(*text, ",");
	char part[CIDR_TEXT_SIZE];

	if (length >= sizeof(part))
		return -EINVAL;
	memcpy(part, *text, length);
	part[length] = '\0';
	*text = (*text)[length] ? *text + length + 1 : NULL;
	return traffic_cidr_parse(part, ret_cidr);
}

static bool is_ipv4(const struct cidr *cidr)
{
	return address_is_ipv4(&cidr->addr) && cidr->prefix >= 96;
}

int cluster_cidrs_parse(const char *text, struct cidr ret_cidrs[CLUSTER_CIDRS_MAX],
			const char **ret_why)
{
	int count = 0;

	if (!*text)
		return 0;
	while (text) {
		if (count == CLUSTER_CIDRS_MAX) {
			*ret_why = "has more than two CIDRs: give one, or one of each family";
			return -EINVAL;
		}
		if (part_next(&text, &ret_cidrs[count++])) {
			*ret_why = "is no CIDR such as 10.244.0.0/16, nor a pair such as "
				   "10.244.0.0/16,fd00:244::/64";
			return -EINVAL;
		}
	}
	if (count == CLUSTER_CIDRS_MAX && is_ipv4(&ret_cidrs[0]) == is_ipv4(&ret_cidrs[1])) {
		*ret_why = "has two CIDRs of one family: give one, or one of each family";
		return -EINVAL;
	}
	return count;
}

int nodeport_addresses_parse(const char *text, struct cidr ret_cidrs[NODEPORT_ADDRESSES_MAX],
			     bool *ret_is_primary, const char **ret_why)
{
	int count = 0;

	*ret_is_primary = !strcmp(text, "primary");
	if (*ret_is_primary || !*text)
		return 0;
	while (text) {
		if (count == NODEPORT_ADDRESSES_MAX) {
			*ret_why = "has more than 64 CIDRs: give fewer, larger ones";
			return -EINVAL;
		}
		if (part_next(&text, &ret_cidrs[count++])) {
			*ret_why = "is no list of CIDRs such as 192.0.2.0/24,2001:db8::/64, nor "
				   "the word primary alone";
			return -EINVAL;
		}
	}
	return count;
}
