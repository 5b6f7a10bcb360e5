/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ports that the kernel assigns to this node's own connections. A flow whose client's address
 * is replaced by one of the node must not get such a port as its source while a socket of the node
 * uses it towards the same backend.
 */

#include <stdbool.h>

#include "fairlead/config.h"

/* Parses `text`, a value of net.ipv4.ip_local_port_range. Returns 0 or -EINVAL. Silent. */
int local_port_range_parse(const char *text, __u16 *ret_min, __u16 *ret_max);

/* The ports that the kernel gives to sockets that ask for none. */
struct local_ports {
	__u16 min, max;
	__u8 reserved[(1U << 16) / 8]; /* a bit for each port that it leaves out */
};

/* Reads the node's. Returns 0 or a negative errno. Silent. */
int local_ports_read(struct local_ports *ret_ports);

/* Leaves out the ports of `list`, as in "8080,30000-32767". */
void local_ports_reserve(struct local_ports *ports, const char *list);

bool local_ports_have(const struct local_ports *ports, __u16 port);

/*
 * Stores the start of the node's current port range in the programs' configuration. Logs if the
 * range cannot be read, and uses the default then, or if it overlaps with that of --source-ports.
 */
void local_port_range_configure(struct config *config);
