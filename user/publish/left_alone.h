/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Addresses left alone: ClusterIPs of Services that we do not serve, because another proxy handles
 * them or they do not fit. Each counts as an external address without frontends: we refuse no
 * packet to any of its ports, and do not drop them as packets to an address that no Service has
 * (rule C44).
 */

#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "publish/address_set.h"
#include "publish/service_set.h"

/* The addresses of one Service that are left alone now. */
struct left_alone {
	uint32_t count;
	uint32_t addresses[]; /* indices of their records */
};

/* The addresses of one Service to leave alone: at most one ClusterIP of each family. */
struct left_addresses {
	struct ip_addr addrs[2];
	size_t count;
};

/* Adds an address, if it is not there yet. */
void left_addresses_add(struct left_addresses *left, const struct ip_addr *addr);

/*
 * Makes `left` the addresses of the Service that are left alone. If one does not fit, the others
 * are still added. Returns 0, -ENOSPC or another negative errno.
 */
int left_alone_replace(struct address_set *set, struct service_record *service,
		       const struct left_addresses *left);

/*
 * Adopts an address that an earlier run left alone, for a Service that no map records. A record
 * without a name holds it until all Services were read. Returns 0 or -ENOMEM.
 */
int left_alone_adopt(struct address_set *set, struct service_set *services, uint32_t index);
