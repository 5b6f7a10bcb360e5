/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Plan: from objects to what the maps should hold. Pure functions: no I/O, no clock, no kernel. The
 * rules are kube-proxy's (`rule E62` is a statement of docs/behaviour.md).
 */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/types.h"
#include "model/object.h"

/*
 * The most frontends, source ranges and endpoints that the ports of one Service have together. What
 * a Service asks for is a product: a small object of some thousand ports and external IPs would
 * take gigabytes, and no map has room for it.
 */
#define PLAN_ITEMS_MAX (1U << 20)

/* What a plan depends on besides the Service and its slices. */
struct plan_context {
	const char *node_name; /* NULL: no endpoint is local, hints do not apply */
	const char *zone;      /* label topology.kubernetes.io/zone of this Node; NULL: none */
	/*
	 * The link that someone else has assigned `addr` to, or NULL: a ClusterIP on a link is left
	 * alone (NodeLocal DNSCache). Owned by the callee, valid until the next call.
	 */
	const char *(*link_with_address)(const struct ip_addr *addr, void *context);
	void *link_context;
	/*
	 * Addresses at which NodePorts are served, each once. A loopback address stands for all
	 * loopback addresses of its family: clients on the node dial them.
	 */
	const struct ip_addr *node_port_addresses;
	size_t node_port_address_count;
	/* The node's primary addresses, IPv4 and IPv6 (rule N166); all zero: not known. */
	struct ip_addr node_ips[2];
	/* What to do about a Service without a ClusterIP; NULL: an API server will give it one. */
	const char *no_cluster_ip;
};

struct planned_frontend {
	struct frontend frontend;
	enum frontend_kind kind;
};

/*
 * Precedence of the kinds that an address and port may have: the lowest rank wins. An external IP
 * cannot take over a ClusterIP, and NodePorts come last (rule B31).
 */
unsigned int frontend_rank(enum frontend_kind kind);

struct planned_backend {
	struct ip_addr addr;
	__be16 port;
	bool is_local;
	bool has_node; /* its endpoint names a Node, this one or another */
	bool terminating;
	bool in_cluster; /* member of the Cluster set */
	bool in_local;   /* member of the Local set */
};

/* One service port in one family: programmed, or the reason why not. */
struct planned_port {
	struct service_name name;
	enum unprogrammed_reason unprogrammed; /* 0: programmed */
	char detail[sizeof(((struct unprogrammed *)0)->detail)];
	struct planned_frontend *frontends; /* each once, ascending by their bytes */
	size_t frontend_count;
	/* SERVICE_SOURCE_RANGES: the clients of its load-balancer IPs; each once, ascending */
	struct cidr *source_ranges;
	size_t source_range_count;
	struct planned_backend
		*backends; /* each address:port once, ascending by address and port */
	size_t backend_count;
	bool uses_cluster;                /* the Cluster set is needed: rule E59 */
	bool uses_local;                  /* the Local set is needed: rule E60 */
	enum empty_verdict empty_cluster; /* what an empty set means */
	enum empty_verdict empty_local;
	__u32 affinity_timeout_s;
	__u32 flags; /* enum service_flag, without SERVICE_IN_USE */
};

struct plan {
	struct planned_port *ports;
	size_t port_count;
	/*
	 * ClusterIPs of the Service at which none of its ports is programmed: they are not ours,
	 * but not addresses that no Service has either (rule C46).
	 */
	struct ip_addr left_alone[2];
	size_t left_alone_count;
	__u64 created_s; /* of the Service */
};

/*
 * Plans one Service. On success the caller owns what `ret_plan` points to (plan_fini). Returns 0 or
 * -ENOMEM. Silent: what cannot be programmed is in the plan, with its reason.
 */
int plan_service(const struct plan_context *context, const struct object *service,
		 const struct slice_object *const *slices, size_t slice_count,
		 struct plan *ret_plan);

void plan_fini(struct plan *plan);
