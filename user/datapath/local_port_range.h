/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ports that the kernel assigns to this node's own connections. A flow whose client's address
 * is replaced by one of the node must not get such a port as its source while a socket of the node
 * uses it towards the same backend.
 */

#include "fairlead/config.h"

/* Parses `text`, a value of net.ipv4.ip_local_port_range. Returns 0 or -EINVAL. Silent. */
int local_port_range_parse(const char *text, __u16 *ret_min, __u16 *ret_max);

/*
 * Stores the start of the node's current port range in the programs' configuration. Logs if the
 * range cannot be read, and uses the default then, or if it overlaps with that of --source-ports.
 */
void local_port_range_configure(struct config *config);
