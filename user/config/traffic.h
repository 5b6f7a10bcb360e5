/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What kube-proxy's traffic options say. They decide about near and far clients and about
 * NodePorts: which sources are pods of this node, and on which addresses NodePorts are served.
 */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/config.h"
#include "fairlead/types.h"
#include "model/object.h"

#define CLUSTER_CIDRS_MAX      2
#define NODEPORT_ADDRESSES_MAX 64
#define SERVICE_CIDRS_MAX      16

/* How a client that is a pod of this node is told from others. */
enum local_mode {
	LOCAL_CLUSTER_CIDR,          /* its address is in cluster_cidrs */
	LOCAL_NODE_CIDR,             /* its address is in the Node's podCIDRs */
	LOCAL_BRIDGE_INTERFACE,      /* it comes from this bridge */
	LOCAL_INTERFACE_NAME_PREFIX, /* it comes from a link whose name begins so */
};

struct traffic_options {
	enum local_mode local_mode;
	struct cidr cluster_cidrs[CLUSTER_CIDRS_MAX]; /* one, or one of each family */
	size_t cluster_cidr_count;
	const char *bridge_interface;
	const char *interface_name_prefix;
	struct cidr service_cidrs[SERVICE_CIDRS_MAX]; /* where ClusterIPs are from */
	size_t service_cidr_count;
	/* NodePorts are served on addresses of the node in these; none: on the primary ones. */
	struct cidr nodeport_addresses[NODEPORT_ADDRESSES_MAX];
	size_t nodeport_address_count;
	bool is_nodeport_primary;    /* ... which was asked for */
	bool masquerade_all;         /* ClusterIP traffic gets the node's source address */
	struct ip_addr bind_address; /* a hint at the node's address; unspecified: none, and its
					family is the primary one */
};

/* The mode of that name, "" is ClusterCIDR; -EINVAL where there is none. */
int local_mode_parse(const char *name, enum local_mode *ret_mode);

/* snat, dsr or hybrid; -EINVAL for any other word. */
int forwarding_parse(const char *name, enum forwarding *ret_forwarding);

/* Reads a CIDR, which must have a "/" (kube-proxy's N164). Returns 0 or -EINVAL. */
int traffic_cidr_parse(const char *text, struct cidr *ret_cidr);

/*
 * Reads "CIDR" or "CIDR,CIDR", one of each family. Returns how many, or -EINVAL with `ret_why`, a
 * sentence's end.
 */
int cluster_cidrs_parse(const char *text, struct cidr ret_cidrs[CLUSTER_CIDRS_MAX],
			const char **ret_why);

/* Reads CIDRs with commas between them. Returns how many, or -EINVAL with `ret_why`. */
int service_cidrs_parse(const char *text, struct cidr ret_cidrs[SERVICE_CIDRS_MAX],
			const char **ret_why);

/*
 * Reads CIDRs with commas between them, or "primary" alone; "" is none. Returns how many CIDRs, or
 * -EINVAL with `ret_why`.
 */
int nodeport_addresses_parse(const char *text, struct cidr ret_cidrs[NODEPORT_ADDRESSES_MAX],
			     bool *ret_is_primary, const char **ret_why);
