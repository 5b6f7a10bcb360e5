/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/pod_slices.h"

#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"

#define FAMILIES_MAX 2

struct derivation {
	const struct service_object *service;
	__u16 *numbers; /* of the current Pod, by port of the Service; 0: it lacks the port */
	struct pod_slices slices;
};

/* The number that a target port resolves to in this Pod; 0: no port has that name and protocol. */
static __u16 target_port_resolve(const struct service_port *port, const struct pod_object *pod)
{
	const struct target_port *target = &port->target_port;

	if (!target->name)
		return target->number ? target->number : port->port;
	for (size_t i = 0; i < pod->port_count; i++) {
		if (pod->ports[i].proto == port->proto && !strcmp(pod->ports[i].name, target->name))
			return pod->ports[i].port;
	}
	return 0;
}

/* True if the ports of the slice are exactly those in `numbers`. */
static bool slice_has_numbers(const struct derivation *derivation, const struct slice_object *slice)
{
	size_t next = 0;

	for (size_t i = 0; i < derivation->service->port_count; i++) {
		if (!derivation->numbers[i])
			continue;
		if (next == slice->port_count ||
		    slice->ports[next].name != derivation->service->ports[i].name ||
		    slice->ports[next].proto != derivation->service->ports[i].proto ||
		    slice->ports[next].port != derivation->numbers[i])
			return false;
		next++;
	}
	return next == slice->port_count;
}

static struct slice_object *slice_append(struct derivation *derivation, enum ip_family family)
{
	struct pod_slices *slices = &derivation->slices;
	const struct service_object *service = derivation->service;
	auto_cleanup(cleanup_free) struct slice_port *ports =
		calloc(service->port_count + 1, sizeof(*ports));
	struct slice_object *items =
		realloc(slices->items, (slices->count + 1) * sizeof(*slices->items));
	struct slice_object *slice;

	if (items)
		slices->items = items;
	if (!ports || !items)
		return NULL;
	slice = &items[slices->count++];
	*slice = (struct slice_object){.family = family};
	for (size_t i = 0; i < service->port_count; i++) {
		if (derivation->numbers[i])
			ports[slice->port_count++] =
				(struct slice_port){.name = service->ports[i].name,
						    .proto = service->ports[i].proto,
						    .port = derivation->numbers[i]};
	}
	slice->ports = take_ptr(ports);
	return slice;
}

static struct slice_object *slice_get_or_add(struct derivation *derivation, enum ip_family family)
{
	for (size_t i = 0; i < derivation->slices.count; i++) {
		struct slice_object *slice = &derivation->slices.items[i];

		if (slice->family == family && slice_has_numbers(derivation, slice))
			return slice;
	}
	return slice_append(derivation, family);
}

/* Arrays double, so one whose count is a power of two (or 0) is full. */
static int endpoint_append(struct slice_object *slice, const struct slice_endpoint *endpoint)
{
	size_t count = slice->endpoint_count;

	if (!(count & (count - 1))) {
		struct slice_endpoint *endpoints =
			realloc(slice->endpoints, (count ? count * 2 : 1) * sizeof(*endpoints));

		if (!endpoints)
			return -ENOMEM;
		slice->endpoints = endpoints;
	}
	slice->endpoints[slice->endpoint_count++] = *endpoint;
	return 0;
}

/* The Pod's first address of a family, which the EndpointSlice controller uses too. */
static const struct ip_addr *pod_address(const struct pod_object *pod, enum ip_family family)
{
	for (size_t i = 0; i < pod->ip_count; i++) {
		if (address_family(&pod->ips[i]) == family)
			return &pod->ips[i];
	}
	return NULL;
}

static int pod_add(struct derivation *derivation, const struct pod_object *pod,
		   enum ip_family family)
{
	const struct ip_addr *addr = pod_address(pod, family);
	struct slice_endpoint endpoint = {.node_name = pod->node_name,
					  .serving = pod->ready,
					  .terminating = pod->terminating};
	struct slice_object *slice;

	if (!addr)
		return 0;
	endpoint.addr = *addr;
	endpoint.ready =
		derivation->service->publish_not_ready || (pod->ready && !pod->terminating);
	slice = slice_get_or_add(derivation, family);
	return slice ? endpoint_append(slice, &endpoint) : -ENOMEM;
}

/* Lists the families of the Service's ClusterIPs, each once; returns their number. */
static size_t service_families(const struct service_object *service,
			       enum ip_family families[FAMILIES_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < service->cluster_ip_count; i++) {
		enum ip_family family = address_family(&service->cluster_ips[i]);

		if (count < FAMILIES_MAX && (!count || families[0] != family))
			families[count++] = family;
	}
	return count;
}

static int pod_derive(struct derivation *derivation, const struct pod_object *pod)
{
	enum ip_family families[FAMILIES_MAX];
	size_t family_count = service_families(derivation->service, families);

	for (size_t i = 0; i < derivation->service->port_count; i++)
		derivation->numbers[i] = target_port_resolve(&derivation->service->ports[i], pod);
	for (size_t i = 0; i < family_count; i++) {
		int err = pod_add(derivation, pod, families[i]);

		if (err)
			return err;
	}
	return 0;
}

int pod_slices_derive(const struct object *service, const struct object *const *pods,
		      size_t pod_count, struct pod_slices *ret_slices)
{
	auto_cleanup(cleanup_free) __u16 *numbers =
		calloc(service->service.port_count + 1, sizeof(*numbers));
	struct derivation derivation = {.service = &service->service, .numbers = numbers};

	*ret_slices = (struct pod_slices){};
	if (!numbers)
		return -ENOMEM;
	for (size_t i = 0; i < pod_count; i++) {
		int err;

		if (pods[i]->pod.finished ||
		    !labels_match(&pods[i]->labels, &service->service.selector))
			continue;
		err = pod_derive(&derivation, &pods[i]->pod);
		if (err) {
			pod_slices_fini(&derivation.slices);
			return err;
		}
	}
	*ret_slices = derivation.slices;
	return 0;
}

void pod_slices_fini(struct pod_slices *slices)
{
	for (size_t i = 0; i < slices->count; i++) {
		free(slices->items[i].endpoints);
		free(slices->items[i].ports);
	}
	free(slices->items);
	*slices = (struct pod_slices){};
}
