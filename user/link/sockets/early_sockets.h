/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * UDP sockets that were connected to an address and port before a Service had it there. The connect
 * hook left them alone, and no hook sees what they send: where TC does not meet it either, because
 * the address is one of the node, they would never reach the Service.
 */

#include <stdbool.h>

struct early_sockets_options {
	int frontends_map, addresses_map; /* borrowed */
	bool with_tc;                     /* packets that leave the node meet TC */
};

/*
 * Connects those of the calling thread's network namespace again, to where they are connected, so
 * that the connect hook gives them a backend. Left alone are sockets whose peer's address and port
 * a socket of the namespace has: they talk to that one. A socket that the kernel gave its source
 * port gets another one if its source address is loopback, which no backend could answer.
 *
 * Returns 0 with the number of sockets in `*ret_count`, -EOPNOTSUPP where the kernel was built
 * without UDP diagnostics, -EPERM where sockets of some processes could not be had
 * (CAP_SYS_PTRACE), or another negative errno. Silent.
 */
int early_sockets_reconnect(const struct early_sockets_options *options, unsigned int *ret_count);
