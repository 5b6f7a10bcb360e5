/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP sockets that were connected to an address and port before a Service had it as a frontend. The
 * connect hook left them alone, and no hook sees their later packets: if TC does not meet them
 * either, because the address belongs to the node, they would never reach the Service.
 */

#include <stdbool.h>

struct early_sockets_options {
	int frontends_map, addresses_map; /* borrowed */
	bool with_tc;                     /* TC sees packets that leave the node */
};

/*
 * Reconnects such sockets of the calling thread's network namespace to the same peer, so that the
 * connect hook chooses a backend. A socket is left alone if another socket of the namespace owns
 * its peer's address and port: the two talk to each other. A socket whose source address is
 * loopback, which no backend could answer, gets a new source address; if the kernel chose its
 * source port, that changes too.
 *
 * Returns 0 with the number of sockets in `*ret_count`, -EOPNOTSUPP if the kernel was built without
 * UDP diagnostics, -EPERM if the sockets of some processes could not be obtained (CAP_SYS_PTRACE),
 * or another negative errno. Silent.
 */
int early_sockets_reconnect(const struct early_sockets_options *options, unsigned int *ret_count);
