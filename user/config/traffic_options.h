/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * kube-proxy's traffic options. They decide about near and far clients and about NodePorts: which
 * sources are pods of this node, and on which addresses NodePorts are served.
 */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/config.h"
#include "fairlead/types.h"
#include "model/object.h"

#define CLUSTER_CIDRS_MAX      2
#define NODEPORT_ADDRESSES_MAX 64
#define SERVICE_CIDRS_MAX      16

/* How the node's own pods are distinguished from other clients. */
enum local_mode {
	LOCAL_CLUSTER_CIDR,          /* its address is in cluster_cidrs */
	LOCAL_NODE_CIDR,             /* its address is in the Node's podCIDRs */
	LOCAL_BRIDGE_INTERFACE,      /* it comes from this bridge */
	LOCAL_INTERFACE_NAME_PREFIX, /* it comes from a link whose name has this prefix */
};

struct traffic_options {
	enum local_mode local_mode;
	struct cidr cluster_cidrs[CLUSTER_CIDRS_MAX]; /* one, or one per family */
	size_t cluster_cidr_count;
	const char *bridge_interface;
	const char *interface_name_prefix;
	struct cidr service_cidrs[SERVICE_CIDRS_MAX]; /* the ranges of ClusterIPs */
	size_t service_cidr_count;
	/*
	 * NodePorts are served on the node's addresses within these; none: on its primary
	 * addresses.
	 */
	struct cidr nodeport_addresses[NODEPORT_ADDRESSES_MAX];
	size_t nodeport_address_count;
	bool is_nodeport_primary;    /* ... because the operator asked for it */
	bool is_nodeport_all;        /* ... on all addresses: an explicit mode iptables or ipvs */
	bool with_localhost;         /* NodePorts at loopback addresses */
	struct ip_addr bind_address; /* a hint at the node's address; unspecified: none, and its
					family is the primary one */
};

/* Parses the name of a mode; "" is ClusterCIDR. -EINVAL: there is no such mode. */
int local_mode_parse(const char *name, enum local_mode *ret_mode);

/*
 * How the programs distinguish near clients from far ones (rules G95 to G97): by address if these
 * options give ranges, else by the link that the clients are behind.
 */
enum near_by near_by_of(const struct traffic_options *traffic);

/* Reads a CIDR, which must have a "/" (kube-proxy's N164). Returns 0 or -EINVAL. */
int traffic_cidr_parse(const char *text, struct cidr *ret_cidr);

/*
 * Reads "CIDR" or "CIDR,CIDR", one per family. Returns the number of CIDRs, or -EINVAL with
 * `ret_why`, the end of a sentence.
 */
int cluster_cidrs_parse(const char *text, struct cidr ret_cidrs[CLUSTER_CIDRS_MAX],
			const char **ret_why);

/* Reads comma-separated CIDRs. Returns their number, or -EINVAL with `ret_why`. */
int service_cidrs_parse(const char *text, struct cidr ret_cidrs[SERVICE_CIDRS_MAX],
			const char **ret_why);

/*
 * Reads comma-separated CIDRs, or "primary" alone; "" is an empty list. Returns the number of
 * CIDRs, or -EINVAL with `ret_why`.
 */
int nodeport_addresses_parse(const char *text, struct cidr ret_cidrs[NODEPORT_ADDRESSES_MAX],
			     bool *ret_is_primary, const char **ret_why);
