/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Lookups: the frontend that a client dials, its service port, a backend. */

#include "packet/address.h"
#include "config.h"
#include "maps.h"

static __always_inline const struct frontend_target *frontend_lookup(const struct ip_addr *vip,
								     __be16 port, __u8 proto)
{
	struct frontend frontend = {.vip = *vip, .port = port, .proto = proto};

	return bpf_map_lookup_elem(&frontends, &frontend);
}

static __always_inline const struct service *service_lookup(__u32 id)
{
	return bpf_map_lookup_elem(&services, &id);
}

static __always_inline struct backend *backend_lookup(__u32 id)
{
	return bpf_map_lookup_elem(&backends, &id);
}

/* False if the id now belongs to another address, or the backend is gone. */
static __always_inline bool backend_is_alive(__u32 id, __u32 generation)
{
	const struct backend *backend = backend_lookup(id);

	return backend && backend->generation == generation &&
	       (backend->state == BACKEND_ACTIVE || backend->state == BACKEND_DRAINING);
}

/*
 * True if a client may use the frontend at all: load-balancer IPs can be limited to source ranges
 * (rules I107 to I115). Checked before everything else, for near clients too.
 */
static __always_inline bool source_is_allowed(const struct ip_addr *client,
					      const struct frontend_target *target)
{
	const struct service *service = service_lookup(target->service);
	struct source_range key = {
		.prefix = 8 * (sizeof(key.service) + sizeof(key.addr)),
		.service = bpf_htonl(target->service),
		.addr = *client,
	};

	if (target->kind != FRONTEND_LOAD_BALANCER_IP || !service ||
	    !(service->flags & SERVICE_SOURCE_RANGES))
		return true;
	return bpf_map_lookup_elem(&source_ranges, &key);
}
