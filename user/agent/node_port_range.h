/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * NodePorts that the kernel gives to sockets of this node as well. The node's own conversations
 * from such a port work (bpf/flow/own_ports.h), but not all of its sockets: what a client sends to
 * one that listens there, without having asked for that port, goes to the Service, and so do the
 * answers to an unconnected UDP socket that asked before the Service came.
 */

#include <stddef.h>

#include "fairlead/types.h"
#include "model/model.h"

struct node_port_range {
	__u16 min, max;  /* net.ipv4.ip_local_port_range */
	size_t count;    /* NodePorts in it that are not reserved */
	char first[352]; /* one of them, in words */
};

/* Looks through the model's Services. Returns 0 or a negative errno. Silent. */
int node_port_range_read(struct model *model, struct node_port_range *ret_range);
