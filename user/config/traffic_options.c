/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/traffic_options.h"

#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "model/cidr.h"

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

enum near_by near_by_of(const struct traffic_options *traffic)
{
	if (traffic->local_mode == LOCAL_NODE_CIDR)
		return NEAR_BY_RANGE;
	if (traffic->local_mode == LOCAL_CLUSTER_CIDR && traffic->cluster_cidr_count)
		return NEAR_BY_RANGE;
	return NEAR_BY_LINK;
}

int traffic_cidr_parse(const char *text, struct cidr *ret_cidr)
{
	if (!strchr(text, '/'))
		return -EINVAL;
	return cidr_parse(text, &ret_cidr->addr, &ret_cidr->prefix);
}

/*
 * Parses the part of a list before the next comma and moves `*text` past it, to NULL after the last
 * part.
 */
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

/* Returns the number of CIDRs, or -EINVAL with `ret_why`. */
static int list_parse(const char *text, struct cidr *ret_cidrs, int max, const char *too_many,
		      const char *malformed, const char **ret_why)
{
	int count = 0;

	while (text) {
		*ret_why = count == max ? too_many : malformed;
		if (count == max || part_next(&text, &ret_cidrs[count]))
			return -EINVAL;
		count++;
	}
	return count;
}

int service_cidrs_parse(const char *text, struct cidr ret_cidrs[SERVICE_CIDRS_MAX],
			const char **ret_why)
{
	return list_parse(text, ret_cidrs, SERVICE_CIDRS_MAX, "has more than 16 CIDRs",
			  "is no list of CIDRs such as 10.96.0.0/12,fd00:96::/108", ret_why);
}

int cluster_cidrs_parse(const char *text, struct cidr ret_cidrs[CLUSTER_CIDRS_MAX],
			const char **ret_why)
{
	int count;

	if (!*text)
		return 0;
	count = list_parse(text, ret_cidrs, CLUSTER_CIDRS_MAX,
			   "has more than two CIDRs: give one, or one of each family",
			   "is no CIDR such as 10.244.0.0/16, nor a pair such as "
			   "10.244.0.0/16,fd00:244::/64",
			   ret_why);
	if (count == CLUSTER_CIDRS_MAX &&
	    cidr_family(&ret_cidrs[0]) == cidr_family(&ret_cidrs[1])) {
		*ret_why = "has two CIDRs of one family: give one, or one of each family";
		return -EINVAL;
	}
	return count;
}

int nodeport_addresses_parse(const char *text, struct cidr ret_cidrs[NODEPORT_ADDRESSES_MAX],
			     bool *ret_is_primary, const char **ret_why)
{
	*ret_is_primary = !strcmp(text, "primary");
	if (*ret_is_primary || !*text)
		return 0;
	return list_parse(text, ret_cidrs, NODEPORT_ADDRESSES_MAX,
			  "has more than 64 CIDRs: give fewer, larger ones",
			  "is no list of CIDRs such as 192.0.2.0/24,2001:db8::/64, nor "
			  "the word primary alone",
			  ret_why);
}
