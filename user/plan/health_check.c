/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/health_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"

static bool health_check_is_served(const struct object *service)
{
	const struct service_object *spec = &service->service;

	return object_is_served_service(service) && spec->type == SERVICE_TYPE_LOAD_BALANCER &&
	       spec->external_local && spec->health_check_node_port && spec->cluster_ip_count;
}

/* A slice without a usable port has no endpoints (rule A12). */
static bool slice_has_endpoints(const struct slice_object *slice, enum ip_family family)
{
	if (slice->family != family)
		return false;
	for (size_t i = 0; i < slice->port_count; i++) {
		if (slice->ports[i].port)
			return true;
	}
	return false;
}

static int address_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

/* The number of different addresses; sorts them. */
static size_t addresses_distinct(struct ip_addr *addrs, size_t count)
{
	size_t found = 0;

	if (count)
		qsort(addrs, count, sizeof(*addrs), address_compare);
	for (size_t i = 0; i < count; i++)
		found += !i || !address_equal(&addrs[i - 1], &addrs[i]);
	return found;
}

static bool endpoint_is_local_and_ready(const struct plan_context *context,
					const struct slice_endpoint *endpoint)
{
	return endpoint->ready && !endpoint->terminating && context->node_name &&
	       endpoint->node_name && !strcmp(endpoint->node_name, context->node_name);
}

/*
 * Counts the addresses of local ready endpoints, each once, however many ports and slices have it.
 */
static int local_endpoints_count(const struct plan_context *context, enum ip_family family,
				 const struct slice_object *const *slices, size_t slice_count,
				 size_t *ret_count)
{
	auto_cleanup(cleanup_free) struct ip_addr *addrs = NULL;
	size_t bound = 0, count = 0;

	for (size_t i = 0; i < slice_count; i++)
		bound += slice_has_endpoints(slices[i], family) ? slices[i]->endpoint_count : 0;
	addrs = calloc(bound + 1, sizeof(*addrs));
	if (!addrs)
		return -ENOMEM;
	for (size_t i = 0; i < slice_count; i++) {
		for (size_t j = 0;
		     slice_has_endpoints(slices[i], family) && j < slices[i]->endpoint_count; j++) {
			const struct slice_endpoint endpoint = slice_endpoint_at(slices[i], j);

			if (endpoint_is_local_and_ready(context, &endpoint))
				addrs[count++] = endpoint.addr;
		}
	}
	*ret_count = addresses_distinct(addrs, count);
	return 0;
}

int plan_health_check(const struct plan_context *context, const struct object *service,
		      const struct slice_object *const *slices, size_t slice_count,
		      struct planned_health_check *ret_check)
{
	const struct service_object *spec = &service->service;
	int err;

	*ret_check = (struct planned_health_check){};
	if (!health_check_is_served(service))
		return 0;
	ret_check->port = spec->health_check_node_port;
	err = local_endpoints_count(context, FAMILY_IPV4, slices, slice_count,
				    &ret_check->ipv4_endpoints);
	if (err)
		return err;
	err = local_endpoints_count(context, FAMILY_IPV6, slices, slice_count,
				    &ret_check->ipv6_endpoints);
	if (err)
		return err;
	if (!service_has_family(spec, FAMILY_IPV4))
		ret_check->ipv4_endpoints = ret_check->ipv6_endpoints;
	else if (!service_has_family(spec, FAMILY_IPV6))
		ret_check->ipv6_endpoints = ret_check->ipv4_endpoints;
	return 0;
}
