/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/object.h"

#include <string.h>

#include "base/address.h"
#include "base/lookup.h"

const char *object_kind_name(enum object_kind kind)
{
	static const char *const names[OBJECT_KIND_COUNT] = {
		[OBJECT_SERVICE] = "Service",
		[OBJECT_ENDPOINT_SLICE] = "EndpointSlice",
		[OBJECT_ENDPOINTS] = "Endpoints",
		[OBJECT_NODE] = "Node",
		[OBJECT_POD] = "Pod",
		[OBJECT_SERVICE_CIDR] = "ServiceCIDR",
	};

	return kind < OBJECT_KIND_COUNT ? names[kind] : "?";
}

bool object_is_served_service(const struct object *service)
{
	return service->service.type != SERVICE_TYPE_EXTERNAL_NAME && !service->service.headless &&
	       !labels_get(&service->labels, LABEL_PROXY_NAME);
}

bool service_has_family(const struct service_object *service, enum ip_family family)
{
	for (size_t i = 0; i < service->cluster_ip_count; i++) {
		if (address_family(&service->cluster_ips[i]) == family)
			return true;
	}
	return false;
}

uint32_t port_name_hash(const char *name, __u8 proto)
{
	return lookup_hash(name, strlen(name)) * 31 + proto;
}

const char *labels_get(const struct labels *labels, const char *key)
{
	for (size_t i = 0; i < labels->count; i++) {
		if (!strcmp(labels->items[i].key, key))
			return labels->items[i].value;
	}
	return NULL;
}

bool labels_match(const struct labels *labels, const struct labels *selector)
{
	size_t at = 0;

	for (size_t i = 0; i < selector->count; i++) {
		const struct label *wanted = &selector->items[i];

		while (at < labels->count && strcmp(labels->items[at].key, wanted->key) < 0)
			at++;
		if (at == labels->count || strcmp(labels->items[at].key, wanted->key) != 0 ||
		    strcmp(labels->items[at].value, wanted->value) != 0)
			return false;
	}
	return selector->count;
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool texts_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (!text_equal(a[i], b[i]))
			return false;
	}
	return true;
}

static bool labels_equal(const struct labels *a, const struct labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!text_equal(a->items[i].key, b->items[i].key) ||
		    !text_equal(a->items[i].value, b->items[i].value))
			return false;
	}
	return true;
}

static bool addresses_equal(const struct ip_addr *a, size_t a_count, const struct ip_addr *b,
			    size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (!address_equal(&a[i], &b[i]))
			return false;
	}
	return true;
}

static bool cidrs_equal(const struct cidr *a, size_t a_count, const struct cidr *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (!address_equal(&a[i].addr, &b[i].addr) || a[i].prefix != b[i].prefix)
			return false;
	}
	return true;
}

static bool node_equal(const struct node_object *a, const struct node_object *b)
{
	return a->leaving == b->leaving &&
	       addresses_equal(a->internal_ips, a->internal_ip_count, b->internal_ips,
			       b->internal_ip_count) &&
	       cidrs_equal(a->pod_cidrs, a->pod_cidr_count, b->pod_cidrs, b->pod_cidr_count);
}

static bool service_ports_equal(const struct service_object *a, const struct service_object *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		const struct service_port *x = &a->ports[i];
		const struct service_port *y = &b->ports[i];

		if (x->proto != y->proto || x->port != y->port || x->node_port != y->node_port ||
		    x->target_port.number != y->target_port.number ||
		    !text_equal(x->target_port.name, y->target_port.name) ||
		    !text_equal(x->unknown_proto, y->unknown_proto) ||
		    !text_equal(x->name, y->name))
			return false;
	}
	return true;
}

static bool service_equal(const struct service_object *a, const struct service_object *b)
{
	/* Its age decides who gets what two Services want (rule A25). */
	return a->created_s == b->created_s && a->type == b->type && a->headless == b->headless &&
	       a->internal_local == b->internal_local && a->external_local == b->external_local &&
	       a->publish_not_ready == b->publish_not_ready &&
	       a->health_check_node_port == b->health_check_node_port &&
	       !memcmp(a->ip_families, b->ip_families, sizeof(a->ip_families)) &&
	       a->ip_family_policy == b->ip_family_policy &&
	       a->affinity_timeout_s == b->affinity_timeout_s &&
	       a->has_bad_source_range == b->has_bad_source_range &&
	       addresses_equal(a->external_ips, a->external_ip_count, b->external_ips,
			       b->external_ip_count) &&
	       addresses_equal(a->load_balancer_ips, a->load_balancer_ip_count,
			       b->load_balancer_ips, b->load_balancer_ip_count) &&
	       cidrs_equal(a->source_ranges, a->source_range_count, b->source_ranges,
			   b->source_range_count) &&
	       addresses_equal(a->cluster_ips, a->cluster_ip_count, b->cluster_ips,
			       b->cluster_ip_count) &&
	       labels_equal(&a->selector, &b->selector) && service_ports_equal(a, b);
}

static bool endpoint_equal(const struct slice_endpoint *a, const struct slice_endpoint *b)
{
	return address_equal(&a->addr, &b->addr) && a->ready == b->ready &&
	       a->serving == b->serving && a->terminating == b->terminating &&
	       text_equal(a->node_name, b->node_name) &&
	       texts_equal(a->zone_hints, a->zone_hint_count, b->zone_hints, b->zone_hint_count) &&
	       texts_equal(a->node_hints, a->node_hint_count, b->node_hints, b->node_hint_count);
}

static bool slice_equal(const struct slice_object *a, const struct slice_object *b)
{
	if (a->family != b->family || a->endpoint_count != b->endpoint_count ||
	    a->port_count != b->port_count || !text_equal(a->service_name, b->service_name))
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		if (a->ports[i].proto != b->ports[i].proto ||
		    a->ports[i].port != b->ports[i].port ||
		    !text_equal(a->ports[i].name, b->ports[i].name))
			return false;
	}
	for (size_t i = 0; i < a->endpoint_count; i++) {
		const struct slice_endpoint x = slice_endpoint_at(a, i),
					    y = slice_endpoint_at(b, i);

		if (!endpoint_equal(&x, &y))
			return false;
	}
	return true;
}

static bool endpoints_equal(const struct endpoints_object *a, const struct endpoints_object *b)
{
	if (a->slice_count != b->slice_count)
		return false;
	for (size_t i = 0; i < a->slice_count; i++) {
		if (!slice_equal(&a->slices[i], &b->slices[i]))
			return false;
	}
	return true;
}

static bool pod_equal(const struct pod_object *a, const struct pod_object *b)
{
	if (a->ready != b->ready || a->terminating != b->terminating ||
	    a->finished != b->finished || a->port_count != b->port_count ||
	    !text_equal(a->node_name, b->node_name) ||
	    !addresses_equal(a->ips, a->ip_count, b->ips, b->ip_count))
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		if (a->ports[i].proto != b->ports[i].proto ||
		    a->ports[i].port != b->ports[i].port ||
		    !text_equal(a->ports[i].name, b->ports[i].name))
			return false;
	}
	return true;
}

bool object_equal(const struct object *a, const struct object *b)
{
	if (a->kind != b->kind || !text_equal(a->namespace_, b->namespace_) ||
	    !text_equal(a->name, b->name) || !labels_equal(&a->labels, &b->labels))
		return false;
	switch (a->kind) {
	case OBJECT_SERVICE:
		return service_equal(&a->service, &b->service);
	case OBJECT_ENDPOINT_SLICE:
		return slice_equal(&a->slice, &b->slice);
	case OBJECT_ENDPOINTS:
		return endpoints_equal(&a->endpoints, &b->endpoints);
	case OBJECT_NODE:
		return node_equal(&a->node, &b->node);
	case OBJECT_POD:
		return pod_equal(&a->pod, &b->pod);
	case OBJECT_SERVICE_CIDR:
		return cidrs_equal(a->service_cidr.cidrs, a->service_cidr.cidr_count,
				   b->service_cidr.cidrs, b->service_cidr.cidr_count);
	case OBJECT_KIND_COUNT:
		break;
	}
	return false;
}
