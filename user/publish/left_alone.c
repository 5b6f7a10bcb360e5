/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/left_alone.h"

#include <errno.h>
#include <stdlib.h>

#include "base/address.h"
#include "base/cleanup.h"

void left_addresses_add(struct left_addresses *left, const struct ip_addr *addr)
{
	for (size_t i = 0; i < left->count; i++) {
		if (address_equal(&left->addrs[i], addr))
			return;
	}
	if (left->count < sizeof(left->addrs) / sizeof(left->addrs[0]))
		left->addrs[left->count++] = *addr;
}

static int left_alone_add(struct address_set *set, const struct ip_addr *addr,
			  struct left_alone *left)
{
	uint32_t index = address_set_get_or_add(set, addr);
	int err;

	if (!index)
		return -ENOSPC;
	err = address_set_gain_frontend(set, index, FRONTEND_EXTERNAL_IP);
	if (err) {
		address_set_drop_unused(set, index);
		return err;
	}
	left->addresses[left->count++] = index;
	return 0;
}

int left_alone_replace(struct address_set *set, struct service_record *service,
		       const struct left_addresses *left)
{
	auto_cleanup(cleanup_free) struct left_alone *before = NULL;
	struct left_alone *after = NULL;
	int err, first = 0;

	if (left->count) {
		after = calloc(1, sizeof(*after) + left->count * sizeof(after->addresses[0]));
		if (!after)
			return -ENOMEM;
	}
	for (size_t i = 0; i < left->count; i++) {
		err = left_alone_add(set, &left->addrs[i], after);
		first = first ? first : err;
	}
	before = service->left_alone;
	service->left_alone = after;
	/*
	 * No flow of ours has these addresses, unless a frontend was there, and then the frontend's
	 * removal waits for its flows.
	 */
	for (uint32_t i = 0; before && i < before->count; i++)
		address_set_lose_frontend(set, before->addresses[i], FRONTEND_EXTERNAL_IP);
	return first;
}

int left_alone_adopt(struct address_set *set, struct service_set *services, uint32_t index)
{
	struct service_record *nobody = service_set_get_or_add(services, "", "");
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
	address_set_count_frontend(set, index, FRONTEND_EXTERNAL_IP, 1);
	return 0;
}
