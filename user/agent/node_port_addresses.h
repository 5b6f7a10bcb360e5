/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The addresses of this node: which are primary, and on which of them NodePorts are served. */

#include "config/traffic_options.h"
#include "model/object.h"

/* The inputs of the decision. All borrowed. */
struct node_facts {
	const struct traffic_options *traffic;
	const struct node_object *node; /* this Node; NULL: not known */
	const struct ip_addr *assigned; /* addresses of links, without loopback addresses */
	size_t assigned_count;
	struct ip_addr guesses[2]; /* used if the Node is not known: IPv4, IPv6; all zero: none */
	bool with_loopback;        /* processes on the node may dial loopback addresses */
};

struct node_port_addresses {
	struct ip_addr *addresses; /* unique, ascending */
	size_t count;
	struct ip_addr node_ips[2]; /* IPv4, IPv6; all zero: not known */
};

/*
 * Chooses the addresses (kube-proxy's rules B32 to B39 and N166). With a list of CIDRs: the
 * assigned addresses in them, and all assigned addresses of a family that has none of the CIDRs.
 * Otherwise the primary addresses: --bind-address if it is an address, the Node's first InternalIP
 * of each family, or the guess; if neither family has one, all addresses. The caller frees with
 * node_port_addresses_fini. Returns 0 or -ENOMEM. Pure.
 */
int node_port_addresses_choose(const struct node_facts *facts,
			       struct node_port_addresses *ret_ports);

void node_port_addresses_fini(struct node_port_addresses *ports);

bool node_port_addresses_equal(const struct node_port_addresses *a,
			       const struct node_port_addresses *b);

/*
 * The addresses that are assigned to links now, except 127/8, ::1 and fe80::/10; for callers that
 * have no link_watch yet. The caller frees `ret_addresses`. Returns 0 or a negative errno.
 */
int node_addresses_read(struct ip_addr **ret_addresses, size_t *ret_count);
