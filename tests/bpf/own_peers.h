/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the node of outside.h does on its own account from the port of a NodePort. */

#include "bpf/outside.h"

/* Leaves by the uplink, from a process of the node or masqueraded for a pod. */
void when_own_leaves(struct frame frame);
void when_masqueraded_leaves(struct frame frame);

/* A UDP socket of the node, bound to its address; NULL: connected to nobody. The caller closes it. */
int given_own_socket(__u16 port, const struct peer *connected);

/* The address is on no link of the node any more. */
void given_address_left(struct ip_addr addr);
