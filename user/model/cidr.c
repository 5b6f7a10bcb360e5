/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/cidr.h"

#include <string.h>

#include "base/address.h"

#define IPV4_PREFIX 96 /* of mapped addresses */

enum ip_family cidr_family(const struct cidr *cidr)
{
	return cidr->prefix >= IPV4_PREFIX ? address_family(&cidr->addr) : FAMILY_IPV6;
}

bool cidr_has(const struct cidr *cidr, const struct ip_addr *addr)
{
	size_t whole = cidr->prefix / 8;
	unsigned int rest = cidr->prefix % 8;

	if (memcmp(cidr->addr.bytes, addr->bytes, whole) != 0 ||
	    cidr_family(cidr) != address_family(addr))
		return false;
	return !rest || !((cidr->addr.bytes[whole] ^ addr->bytes[whole]) >> (8 - rest));
}

bool cidr_is_everything(const struct cidr *cidr)
{
	return cidr->prefix == (cidr_family(cidr) == FAMILY_IPV4 ? IPV4_PREFIX : 0);
}
