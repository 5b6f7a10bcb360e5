/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The Kubernetes objects we use, as owned C structs: the decoders make them and the model keeps
 * them. They have only the fields that decide anything (kube-proxy's rules A8 and A9).
 *
 * An object is loose or packed. A loose object borrows its strings and arrays from whatever filled
 * it in, on the stack or from a parsed document. object_new() makes a packed copy: one block of
 * memory with everything in it, equal strings stored once. A cluster may have 100,000 endpoints,
 * which are most of what the agent holds, so a packed slice spends only a few bytes on each.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"

enum object_kind {
	OBJECT_SERVICE,
	OBJECT_ENDPOINT_SLICE,
	OBJECT_ENDPOINTS,
	OBJECT_NODE,
	OBJECT_POD,
	OBJECT_SERVICE_CIDR,
	OBJECT_KIND_COUNT
};

struct label {
	char *key;
	char *value;
};

struct labels {
	struct label *items; /* of a packed object: ascending by key */
	size_t count;
};

/* A number or a port's name; name is NULL for a number. */
struct target_port {
	char *name;
	__u16 number; /* host order */
};

struct service_port {
	char *name;          /* "" where the object has none */
	char *unknown_proto; /* as the object has it, if proto is 0; else NULL */
	__u8 proto;          /* 0: a protocol we do not know */
	__u16 port;          /* host order, like all ports in objects */
	__u16 node_port;
	struct target_port target_port; /* number 0 and no name: the same as port */
};

/*
 * The addresses whose first `prefix` bits equal those of `addr`, out of 128, also for IPv4
 * (mapped).
 */
struct cidr {
	struct ip_addr addr;
	__u8 prefix;
};

enum ip_family_policy {
	FAMILY_POLICY_SINGLE,
	FAMILY_POLICY_PREFER_DUAL,
	FAMILY_POLICY_REQUIRE_DUAL,
};

struct service_object {
	__u64 created_s; /* metadata.creationTimestamp, since 1970; 0: not known */
	struct service_port *ports;
	struct labels selector;
	struct ip_addr cluster_ips[2];
	struct ip_addr *external_ips;
	struct ip_addr *load_balancer_ips; /* those of ipMode VIP: we serve them */
	struct cidr *source_ranges;        /* clients that may use load_balancer_ips; none: all */
	__u32 external_ip_count;
	__u32 load_balancer_ip_count;
	__u32 source_range_count;
	__u32 port_count;
	__u32 affinity_timeout_s;     /* 0: sessionAffinity None */
	__u16 health_check_node_port; /* host order; 0: none */
	__u8 cluster_ip_count;
	__u8 type;             /* enum service_type */
	__u8 ip_families[2];   /* enum ip_family; 0: ipFamilies has no more */
	__u8 ip_family_policy; /* enum ip_family_policy */
	bool headless;         /* clusterIP: None */
	bool internal_local;   /* internalTrafficPolicy: Local */
	bool external_local;
	bool publish_not_ready;
	bool has_bad_source_range; /* an invalid one was skipped; none left does not mean all */
};

struct slice_port {
	char *name; /* "" where the object has none */
	__u8 proto;
	__u16 port; /* 0: "all ports", which is not supported */
};

/* Packed slices keep their endpoints in another form: read them with slice_endpoint_at. */
struct slice_endpoint {
	struct ip_addr addr; /* addresses[0] */
	char *node_name;     /* NULL: none */
	char **zone_hints;
	char **node_hints;
	__u16 zone_hint_count;
	__u16 node_hint_count;
	bool ready; /* defaults already applied (rule A17) */
	bool serving;
	bool terminating;
};

struct slice_object {
	char *service_name;               /* label kubernetes.io/service-name; NULL: no Service */
	struct slice_endpoint *endpoints; /* if the slice is loose */
	struct packed_endpoints *packed;  /* if it is packed */
	struct slice_port *ports;
	__u32 endpoint_count;
	__u32 port_count;
	enum ip_family family; /* 0: FQDN, whose endpoints are ignored (rule A15) */
};

/* An endpoint of a slice, loose or packed; it borrows from the slice. */
struct slice_endpoint slice_endpoint_at(const struct slice_object *slice, size_t index);

/* core/v1 Endpoints: each subset becomes slices, one per family, with the object's name. */
struct endpoints_object {
	struct slice_object *slices;
	size_t slice_count;
};

struct node_object {
	struct ip_addr *internal_ips;
	size_t internal_ip_count;
	struct cidr *pod_cidrs; /* spec.podCIDRs, or the one of spec.podCIDR */
	size_t pod_cidr_count;
	bool leaving; /* being deleted, or about to be by the autoscaler (rule L132) */
};

struct service_cidr_object {
	struct cidr cidrs[2];
	size_t cidr_count;
};

struct pod_port {
	char *name;
	__u8 proto;
	__u16 port;
};

struct pod_object {
	struct ip_addr ips[2];
	size_t ip_count;
	char *node_name;
	bool ready;       /* condition Ready */
	bool terminating; /* metadata.deletionTimestamp */
	bool finished;    /* phase Succeeded or Failed: no endpoint at all */
	struct pod_port *ports;
	size_t port_count;
};

#define LABEL_PROXY_NAME   "service.kubernetes.io/service-proxy-name"
#define LABEL_HEADLESS     "service.kubernetes.io/headless"
#define LABEL_SERVICE_NAME "kubernetes.io/service-name"
#define LABEL_ZONE         "topology.kubernetes.io/zone"

#define ANNOTATION_TRIGGER_TIME "endpoints.kubernetes.io/last-change-trigger-time"

/* A DNS subdomain (RFC 1123). Services and namespaces: NAME_SIZE - 1. */
#define OBJECT_NAME_MAX 253

struct object {
	enum object_kind kind;
	__u32 origin; /* where it came from, as the source numbers it; not part of its content */
	__u32 line;   /* in its manifest; not part of its content */
	/*
	 * Slices: when the change that they report happened (annotation
	 * endpoints.kubernetes.io/last-change-trigger-time), in ms since 1970; 0: not known. Not
	 * part of the content.
	 */
	__u64 triggered_ms;
	char *namespace_; /* "" for a Node and a ServiceCIDR */
	char *name;
	/*
	 * The labels that decide anything: all of a Pod's, LABEL_ZONE of a Node, LABEL_PROXY_NAME
	 * and LABEL_HEADLESS of others.
	 */
	struct labels labels;
	union {
		struct service_object service;
		struct slice_object slice;
		struct endpoints_object endpoints;
		struct node_object node;
		struct pod_object pod;
		struct service_cidr_object service_cidr;
	};
};

/* "Service", "EndpointSlice", ... */
const char *object_kind_name(enum object_kind kind);

/*
 * Returns a packed copy of an object, loose or packed; NULL: no memory. In the copy, the name
 * follows the namespace's terminator, so that both together are a key.
 */
struct object *object_new(const struct object *object);

/* Frees a packed object. NULL is fine. */
void object_free(struct object *object);

/* True if both have the same kind, namespace, name and content. */
bool object_equal(const struct object *a, const struct object *b);

/* True if the Service is for a proxy, and for this one: neither headless nor ExternalName. */
bool object_is_served_service(const struct object *service);

/* True if one of the Service's ClusterIPs is of the family. */
bool service_has_family(const struct service_object *service, enum ip_family family);

/*
 * A hash of the name and protocol of a Service's, slice's or Pod's port, by which these are matched
 * (rule A11).
 */
uint32_t port_name_hash(const char *name, __u8 proto);

/* The label's value, or NULL. */
const char *labels_get(const struct labels *labels, const char *key);

/*
 * True if every label of the selector is among the labels, both of packed objects. An empty
 * selector selects nothing.
 */
bool labels_match(const struct labels *labels, const struct labels *selector);
