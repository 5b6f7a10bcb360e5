/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Connected UDP sockets whose backend has left: the kernel aborts them, so their owners notice. */

#include <stddef.h>

#include "fairlead/types.h"

struct socket_target {
	struct ip_addr addr; /* of the backend */
	__be16 port;
	__u32 service; /* the service port that lost it; others may still have it */
};

/*
 * Aborts (ECONNABORTED) the UDP sockets that a Service connected to one of `targets`, in every
 * network namespace reachable through a process or a name in /run/netns. Only sockets with an entry
 * in `socket_state_map` that names this backend and service port are ours; sockets that dialled the
 * backend directly, and those of another agent, have none. One pass serves all targets.
 *
 * Returns 0 with the number of sockets in `*ret_count`, -EOPNOTSUPP if the kernel was built without
 * CONFIG_INET_DIAG_DESTROY or without UDP diagnostics, or another negative errno. Namespaces that
 * cannot be visited are logged and skipped.
 */
int sockets_abort_udp(int socket_state_map, const struct socket_target *targets, size_t count,
		      unsigned int *ret_count);
