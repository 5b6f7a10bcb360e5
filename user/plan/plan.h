/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Plan: from objects to what the maps shall hold. Pure functions, no I/O, no clock, no kernel; the
 * rules are kube-proxy's (`rule E62` is a statement of docs/behaviour.md).
 */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/types.h"
#include "model/object.h"

/* What a plan depends on besides the Service and its slices. */
struct plan_context {
	const char *node_name; /* NULL: no endpoint is local, hints do not apply */
	const char *zone;      /* label topology.kubernetes.io/zone of the own Node; NULL: none */
	/*
	 * The link that `addr` is assigned to by someone else, or NULL: such a ClusterIP is left
	 * alone (NodeLocal DNSCache). Owned by the callee, valid until it is called again.
	 */
	const char *(*link_with_address)(const struct ip_addr *addr, void *context);
	void *link_context;
	/*
	 * Where NodePorts are served, each address once. A loopback address stands for all of its
	 * family's: clients on the node dial it.
	 */
	const struct ip_addr *node_port_addresses;
	size_t node_port_address_count;
	/* The node's primary addresses, IPv4 and IPv6 (rule N166); all zero: not known. */
	struct ip_addr node_ips[2];
};

struct planned_frontend {
	struct frontend frontend;
	enum frontend_kind kind;
};

/*
 * Where an address and port could be of several kinds, the lowest rank wins: nobody takes a
 * ClusterIP away by an external IP, and NodePorts come last (rule B31).
 */
unsigned int frontend_rank(enum frontend_kind kind);

struct planned_backend {
	struct ip_addr addr;
	__be16 port;
	enum backend_state state; /* BACKEND_ACTIVE: in a set; BACKEND_DRAINING: known, in none */
	bool is_local;
	bool has_node; /* it names a Node, this one or another */
	bool terminating;
	bool in_cluster; /* member of the Cluster set */
	bool in_local;   /* member of the Local set */
};

/* One service port in one family: programmed, or not with a reason. */
struct planned_port {
	struct service_name name;
	enum unprogrammed_reason unprogrammed; /* 0: programmed */
	char detail[sizeof(((struct unprogrammed *)0)->detail)];
	struct planned_frontend *frontends; /* each once, ascending by their bytes */
	size_t frontend_count;
	/* SERVICE_SOURCE_RANGES: who may use its load-balancer IPs; each once, ascending */
	struct cidr *source_ranges;
	size_t source_range_count;
	struct planned_backend
		*backends; /* each address:port once, ascending by address and port */
	size_t backend_count;
	bool uses_cluster;                /* the Cluster set is needed: rule E59 */
	bool uses_local;                  /* rule E60 */
	enum empty_verdict empty_cluster; /* what an empty set means */
	enum empty_verdict empty_local;
	__u32 affinity_timeout_s;
	__u32 flags; /* enum service_flag, without SERVICE_IN_USE */
};

struct plan {
	struct planned_port *ports;
	size_t port_count;
	/*
	 * ClusterIPs of the Service at which nothing of it is programmed: they are not ours, and
	 * not addresses that no Service has (rule C46).
	 */
	struct ip_addr left_alone[2];
	size_t left_alone_count;
};

/*
 * Plans one Service. On success the caller owns what `ret_plan` points to (plan_fini). Returns 0 or
 * -ENOMEM. Silent: what cannot be programmed is in the plan, with its reason.
 */
int plan_service(const struct plan_context *context, const struct object *service,
		 const struct slice_object *const *slices, size_t slice_count,
		 struct plan *ret_plan);

void plan_fini(struct plan *plan);
