/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Addresses left alone: ClusterIPs of Services that we do not serve, because another proxy handles
 * them or they do not fit. Each counts as an external address without frontends: we refuse no
 * packet to any of its ports, and do not drop them as packets to an address that no Service has
 * (rule C44).
 */

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "publish/publisher_parts.h"

static struct left_alone *left_alone_new(size_t room)
{
	return calloc(1, sizeof(struct left_alone) +
				 room * sizeof(((struct left_alone *)0)->addresses[0]));
}

static int left_alone_take(struct publisher *publisher, const struct ip_addr *addr,
			   struct left_alone *left)
{
	uint32_t index = address_take(publisher, addr);
	int err;

	if (!index || !address_can_count(publisher, index, FRONTEND_EXTERNAL_IP))
		return publisher_is_full(publisher, FULL_ADDRESSES);
	address_count_frontend(publisher, index, FRONTEND_EXTERNAL_IP, 1);
	err = address_settle(publisher, index);
	if (err) {
		address_count_frontend(publisher, index, FRONTEND_EXTERNAL_IP, -1);
		address_drop_unused(publisher, index);
		return err;
	}
	left->addresses[left->count++] = index;
	return 0;
}

/*
 * No flow of ours has the address, unless a frontend was there, and then the frontend's removal
 * waits for its flows.
 */
static void left_alone_give(struct publisher *publisher, const struct left_alone *left)
{
	for (uint32_t i = 0; left && i < left->count; i++) {
		address_count_frontend(publisher, left->addresses[i], FRONTEND_EXTERNAL_IP, -1);
		(void)address_settle(publisher, left->addresses[i]);
	}
}

int left_alone_set(struct publisher *publisher, struct service_record *service,
		   const struct ip_addr *addrs, size_t count)
{
	auto_cleanup(cleanup_free) struct left_alone *before = NULL;
	struct left_alone *left = NULL;
	int err, first = 0;

	if (count) {
		left = left_alone_new(count);
		if (!left)
			return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		err = left_alone_take(publisher, &addrs[i], left);
		first = first ? first : err;
	}
	before = service->left_alone;
	service->left_alone = left;
	left_alone_give(publisher, before);
	return first;
}

int left_alone_adopt(struct publisher *publisher, uint32_t index)
{
	struct service_record *nobody = service_get(publisher, "", "", true);
	struct left_alone *left;
	uint32_t count;

	if (!nobody)
		return -ENOMEM;
	count = nobody->left_alone ? nobody->left_alone->count : 0;
	left = realloc(nobody->left_alone, sizeof(*left) + (count + 1) * sizeof(*left->addresses));
	if (!left)
		return -ENOMEM;
	left->addresses[count] = index;
	left->count = count + 1;
	nobody->left_alone = left;
	address_count_frontend(publisher, index, FRONTEND_EXTERNAL_IP, 1);
	return 0;
}
