/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Connected UDP sockets whose backend has left: the kernel is asked to tell them. */

#include <stddef.h>

#include "fairlead/types.h"

struct socket_target {
	struct ip_addr addr; /* of the backend */
	__be16 port;
	__u32 service; /* the service port that has it no longer; others may */
};

/*
 * Aborts (ECONNABORTED) the UDP sockets that a Service sent to one of `targets`, in
 * every network namespace that a process or a name in /run/netns shows. `socket_state_map` tells
 * them from sockets that dialled the backend itself, and from those of another agent: only sockets
 * that have an entry there, with this backend and service port in it, are ours. One pass serves all
 * targets.
 *
 * Returns 0 with the number of sockets in `*ret_count`, -EOPNOTSUPP where the kernel was built
 * without CONFIG_INET_DIAG_DESTROY or without UDP diagnostics, or another negative errno. Logs
 * namespaces that cannot be looked into, and goes on.
 */
int sockets_destroy_udp(int socket_state_map, const struct socket_target *targets, size_t count,
			unsigned int *ret_count);
