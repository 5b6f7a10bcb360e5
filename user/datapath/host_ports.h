/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ports that the kernel gives to this node's own connections. A flow whose client's place is
 * taken by an address of the node must not have one of them as its source.
 */

#include <stddef.h>

#include "fairlead/config.h"

/*
 * Reads `text`, what net.ipv4.ip_local_port_range holds. Returns 0 or -EINVAL. Silent.
 */
int host_ports_parse(const char *text, __u16 *ret_min, __u16 *ret_max);

/*
 * Tells the programs' configuration of the node's range, as it is now. Logs, where the range of
 * --source-ports overlaps with it too, and goes on with the default where it cannot be read.
 */
void host_ports_set(struct config *config);
