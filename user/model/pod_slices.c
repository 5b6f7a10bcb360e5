/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/pod_slices.h"

#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/lookup.h"

#define FAMILIES_MAX 2

struct derivation {
	const struct service_object *service;
	bool has_named_targets;
	__u16 *numbers; /* of the current Pod, by port of the Service; 0: it lacks the port */
	struct lookup by_numbers; /* the slices */
	struct pod_slices slices;
};

static void derivation_fini(struct derivation *derivation)
{
	free(derivation->numbers);
	lookup_fini(&derivation->by_numbers);
	pod_slices_fini(&derivation->slices);
}

static bool pod_port_is(const void *item, const void *key)
{
	const struct pod_port *port = item, *wanted = key;

	return port->proto == wanted->proto && !strcmp(port->name, wanted->name);
}

static struct pod_port *pod_port_find(const struct lookup *ports, char *name, __u8 proto)
{
	const struct pod_port key = {.name = name, .proto = proto};

	return lookup_find(ports, port_name_hash(name, proto), pod_port_is, &key);
}

/* Of two ports with one name, the first counts. */
static int pod_ports_collect(const struct pod_object *pod, struct lookup *ports)
{
	for (size_t i = 0; i < pod->port_count; i++) {
		struct pod_port *port = &pod->ports[i];
		int err = 0;

		if (!pod_port_find(ports, port->name, port->proto))
			err = lookup_add(ports, port_name_hash(port->name, port->proto), port);
		if (err)
			return err;
	}
	return 0;
}

/* The number that a target port resolves to in this Pod; 0: no port has that name and protocol. */
static __u16 target_port_resolve(const struct service_port *port, const struct lookup *pod_ports)
{
	const struct target_port *target = &port->target_port;
	const struct pod_port *found;

	if (!target->name)
		return target->number ? target->number : port->port;
	found = pod_port_find(pod_ports, target->name, port->proto);
	return found ? found->port : 0;
}

static int numbers_resolve(struct derivation *derivation, const struct pod_object *pod)
{
	auto_cleanup(lookup_fini) struct lookup pod_ports = {};
	int err = derivation->has_named_targets ? pod_ports_collect(pod, &pod_ports) : 0;

	for (size_t i = 0; !err && i < derivation->service->port_count; i++)
		derivation->numbers[i] =
			target_port_resolve(&derivation->service->ports[i], &pod_ports);
	return err;
}

struct slice_key {
	const struct derivation *derivation;
	enum ip_family family;
};

/* True if the slice is of the family, and its ports are exactly those in `numbers`. */
static bool slice_has_numbers(const void *item, const void *context)
{
	const struct slice_key *key = context;
	const struct service_object *service = key->derivation->service;
	const __u16 *numbers = key->derivation->numbers;
	const struct slice_object *slice = item;
	size_t next = 0;

	if (slice->family != key->family)
		return false;
	for (size_t i = 0; i < service->port_count; i++) {
		if (!numbers[i])
			continue;
		if (next == slice->port_count ||
		    slice->ports[next].name != service->ports[i].name ||
		    slice->ports[next].proto != service->ports[i].proto ||
		    slice->ports[next].port != numbers[i])
			return false;
		next++;
	}
	return next == slice->port_count;
}

/* A slice with the ports that are in `numbers`. */
static struct slice_object *slice_new(const struct derivation *derivation, enum ip_family family)
{
	const struct service_object *service = derivation->service;
	struct slice_object *slice = calloc(1, sizeof(*slice));

	if (!slice)
		return NULL;
	slice->family = family;
	slice->ports = calloc(service->port_count + 1, sizeof(*slice->ports));
	if (!slice->ports) {
		free(slice);
		return NULL;
	}
	for (size_t i = 0; i < service->port_count; i++) {
		if (derivation->numbers[i])
			slice->ports[slice->port_count++] =
				(struct slice_port){.name = service->ports[i].name,
						    .proto = service->ports[i].proto,
						    .port = derivation->numbers[i]};
	}
	return slice;
}

static void slice_free(struct slice_object *slice)
{
	free(slice->endpoints);
	free(slice->ports);
	free(slice);
}

/* Arrays double, so one whose count is a power of two (or 0) is full. */
static int slice_append(struct pod_slices *slices, struct slice_object *slice)
{
	size_t count = slices->count;

	if (!(count & (count - 1))) {
		struct slice_object **items = realloc(
			slices->items, (count ? count * 2 : 1) * sizeof(struct slice_object *));

		if (!items)
			return -ENOMEM;
		slices->items = items;
	}
	slices->items[slices->count++] = slice;
	return 0;
}

static struct slice_object *slice_get_or_add(struct derivation *derivation, enum ip_family family)
{
	const struct slice_key key = {derivation, family};
	uint32_t hash = family +
			lookup_hash(derivation->numbers,
				    derivation->service->port_count * sizeof(*derivation->numbers));
	struct slice_object *slice =
		lookup_find(&derivation->by_numbers, hash, slice_has_numbers, &key);

	if (slice)
		return slice;
	slice = slice_new(derivation, family);
	if (!slice)
		return NULL;
	if (slice_append(&derivation->slices, slice)) {
		slice_free(slice);
		return NULL;
	}
	return lookup_add(&derivation->by_numbers, hash, slice) ? NULL : slice;
}

/* The array doubles as well. */
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
	int err = numbers_resolve(derivation, pod);

	for (size_t i = 0; !err && i < family_count; i++)
		err = pod_add(derivation, pod, families[i]);
	return err;
}

static bool has_named_targets(const struct service_object *service)
{
	for (size_t i = 0; i < service->port_count; i++) {
		if (service->ports[i].target_port.name)
			return true;
	}
	return false;
}

int pod_slices_derive(const struct object *service, const struct object *const *pods,
		      size_t pod_count, struct pod_slices *ret_slices)
{
	auto_cleanup(derivation_fini) struct derivation derivation = {
		.service = &service->service,
		.has_named_targets = has_named_targets(&service->service),
		.numbers = calloc(service->service.port_count + 1, sizeof(*derivation.numbers)),
	};

	*ret_slices = (struct pod_slices){};
	if (!derivation.numbers)
		return -ENOMEM;
	for (size_t i = 0; i < pod_count; i++) {
		int err;

		if (pods[i]->pod.finished ||
		    !labels_match(&pods[i]->labels, &service->service.selector))
			continue;
		err = pod_derive(&derivation, &pods[i]->pod);
		if (err)
			return err;
	}
	*ret_slices = derivation.slices;
	derivation.slices = (struct pod_slices){};
	return 0;
}

void pod_slices_fini(struct pod_slices *slices)
{
	for (size_t i = 0; i < slices->count; i++)
		slice_free(slices->items[i]);
	free(slices->items);
	*slices = (struct pod_slices){};
}
