/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Endpoints of a packed slice, of 8 bytes each with IPv4 addresses and 20 with IPv6: a word with
 * the number of the node's name and the conditions, then the address.
 */

#include "model/shared_name.h"
#include "model/object.h"

#define PACKED_NAME        ((1U << NAME_ID_BITS) - 1)
#define PACKED_READY       (1U << 28)
#define PACKED_SERVING     (1U << 29)
#define PACKED_TERMINATING (1U << 30)

struct packed_hints {
	char **zone_hints;
	char **node_hints;
	__u16 zone_hint_count;
	__u16 node_hint_count;
};

struct packed_endpoints {
	struct packed_hints *hints; /* one per endpoint; NULL: none has any */
	bool is_ipv4;
	__u32 words[];
};

/* The number of words of one endpoint. */
static inline size_t packed_stride(bool is_ipv4)
{
	return 1 + (is_ipv4 ? sizeof(__be32) : sizeof(struct ip_addr)) / sizeof(__u32);
}

/* Gives back the node names of a packed slice. */
void slice_names_drop(const struct slice_object *slice);
