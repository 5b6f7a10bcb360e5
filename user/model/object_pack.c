/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Packed objects. Packing copies an object with everything it points to into one block. The same
 * walk runs twice, first to count the bytes (`base` is NULL and nothing is written), then to fill
 * the block. `field`, NULL while counting, is where in the copy a pointer is stored.
 */

#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "model/object.h"
#include "model/shared_name.h"

/*
 * Endpoints of a packed slice, of 8 bytes each with IPv4 addresses and 20 with IPv6: a word with
 * the number of the node's name and the conditions, then the address.
 */
#define PACKED_NAME        ((1U << SHARED_NAME_BITS) - 1)
#define PACKED_READY       (1U << 28)
#define PACKED_SERVING     (1U << 29)
#define PACKED_TERMINATING (1U << 30)

struct packed_hints {
	char **zone_hints;
	char **node_hints;
	__u16 zone_hint_count;
	__u16 node_hint_count;
};

struct packed_endpoints {
	struct packed_hints *hints; /* one per endpoint; NULL: none has any */
	bool is_ipv4;
	__u32 words[];
};

/* The number of words of one endpoint. */
static size_t packed_stride(bool is_ipv4)
{
	return 1 + (is_ipv4 ? sizeof(__be32) : sizeof(struct ip_addr)) / sizeof(__u32);
}

/*
 * Strings that later ones are compared with: enough for the names of nodes, zones and ports in a
 * slice.
 */
#define PACKED_STRINGS_KEPT 64

struct packed_string {
	const char *text;
	size_t len;
	size_t offset;
};

struct packer {
	char *base;
	size_t used;
	bool no_memory; /* for a name that is stored outside the block */
	struct packed_string strings[PACKED_STRINGS_KEPT];
	size_t string_count;
};

/* The address of `field` in element `i` of an array in the copy; NULL while counting. */
#define FIELD(array, i, field) ((array) ? &(array)[i].field : NULL)

/*
 * Reserves `size` bytes and fills them with a copy of `bytes`, or with zeros if that is NULL.
 * Returns where they are; NULL while counting.
 */
static void *bytes_pack(struct packer *packer, const void *bytes, size_t size, size_t alignment)
{
	size_t offset = (packer->used + alignment - 1) & ~(alignment - 1);

	packer->used = offset + size;
	if (!packer->base)
		return NULL;
	if (bytes && size)
		memcpy(packer->base + offset, bytes, size);
	else
		memset(packer->base + offset, 0, size);
	return packer->base + offset;
}

static void *array_pack(struct packer *packer, const void *items, size_t count, size_t item_size,
			void *field)
{
	void *copy = count ? bytes_pack(packer, items, count * item_size, sizeof(void *)) : NULL;

	if (field)
		memcpy(field, &copy, sizeof(copy));
	return copy;
}

static size_t string_offset(struct packer *packer, const char *text)
{
	size_t len = strlen(text);
	size_t offset;

	for (size_t i = 0; i < packer->string_count; i++) {
		const struct packed_string *known = &packer->strings[i];

		if (known->len == len && !memcmp(known->text, text, len))
			return known->offset;
	}
	offset = packer->used;
	(void)bytes_pack(packer, text, len + 1, 1);
	if (packer->string_count < PACKED_STRINGS_KEPT)
		packer->strings[packer->string_count++] = (struct packed_string){text, len, offset};
	return offset;
}

static void string_pack(struct packer *packer, const char *text, char **field)
{
	size_t offset;

	if (!text)
		return;
	offset = string_offset(packer, text);
	if (field)
		*field = packer->base + offset;
}

static void strings_pack(struct packer *packer, char *const *texts, size_t count, char ***field)
{
	char **copy = array_pack(packer, texts, count, sizeof(*texts), field);

	for (size_t i = 0; i < count; i++)
		string_pack(packer, texts[i], copy ? &copy[i] : NULL);
}

static void labels_pack(struct packer *packer, const struct labels *labels, struct label **field)
{
	struct label *copy =
		array_pack(packer, labels->items, labels->count, sizeof(*labels->items), field);

	for (size_t i = 0; i < labels->count; i++) {
		string_pack(packer, labels->items[i].key, FIELD(copy, i, key));
		string_pack(packer, labels->items[i].value, FIELD(copy, i, value));
	}
}

static void service_pack(struct packer *packer, const struct service_object *service,
			 struct service_object *copy)
{
	struct service_port *ports = array_pack(packer, service->ports, service->port_count,
						sizeof(*service->ports), FIELD(copy, 0, ports));

	(void)array_pack(packer, service->external_ips, service->external_ip_count,
			 sizeof(*service->external_ips), FIELD(copy, 0, external_ips));
	(void)array_pack(packer, service->load_balancer_ips, service->load_balancer_ip_count,
			 sizeof(*service->load_balancer_ips), FIELD(copy, 0, load_balancer_ips));
	(void)array_pack(packer, service->source_ranges, service->source_range_count,
			 sizeof(*service->source_ranges), FIELD(copy, 0, source_ranges));
	labels_pack(packer, &service->selector, FIELD(copy, 0, selector.items));
	for (size_t i = 0; i < service->port_count; i++) {
		string_pack(packer, service->ports[i].name, FIELD(ports, i, name));
		string_pack(packer, service->ports[i].unknown_proto,
			    FIELD(ports, i, unknown_proto));
		string_pack(packer, service->ports[i].target_port.name,
			    FIELD(ports, i, target_port.name));
	}
}

static bool slice_is_ipv4(const struct slice_object *slice)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct slice_endpoint endpoint = slice_endpoint_at(slice, i);

		if (!address_is_ipv4(&endpoint.addr))
			return false;
	}
	return true;
}

static bool slice_has_hints(const struct slice_object *slice)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct slice_endpoint endpoint = slice_endpoint_at(slice, i);

		if (endpoint.zone_hint_count || endpoint.node_hint_count)
			return true;
	}
	return false;
}

static void hints_pack(struct packer *packer, const struct slice_endpoint *endpoint,
		       struct packed_hints *copy)
{
	if (copy) {
		copy->zone_hint_count = endpoint->zone_hint_count;
		copy->node_hint_count = endpoint->node_hint_count;
	}
	strings_pack(packer, endpoint->zone_hints, endpoint->zone_hint_count,
		     FIELD(copy, 0, zone_hints));
	strings_pack(packer, endpoint->node_hints, endpoint->node_hint_count,
		     FIELD(copy, 0, node_hints));
}

/* Writes an endpoint, except for its hints. */
static void endpoint_write(struct packer *packer, const struct slice_endpoint *endpoint,
			   bool is_ipv4, __u32 *words)
{
	__u32 name = endpoint->node_name ? shared_name_acquire(endpoint->node_name) : 0;
	size_t skipped = is_ipv4 ? sizeof(endpoint->addr) - sizeof(__be32) : 0;

	packer->no_memory |= endpoint->node_name && !name;
	words[0] = name | (endpoint->ready ? PACKED_READY : 0) |
		   (endpoint->serving ? PACKED_SERVING : 0) |
		   (endpoint->terminating ? PACKED_TERMINATING : 0);
	memcpy(&words[1], endpoint->addr.bytes + skipped, sizeof(endpoint->addr) - skipped);
}

static void slice_endpoints_pack(struct packer *packer, const struct slice_object *slice,
				 struct slice_object *copy)
{
	bool is_ipv4 = slice_is_ipv4(slice), has_hints = slice_has_hints(slice);
	size_t count = slice->endpoint_count, stride = packed_stride(is_ipv4);
	struct packed_endpoints *packed = bytes_pack(
		packer, NULL, sizeof(*packed) + count * stride * sizeof(__u32), sizeof(void *));
	struct packed_hints *hints = NULL;

	if (has_hints)
		hints = bytes_pack(packer, NULL, count * sizeof(*hints), sizeof(void *));
	for (size_t i = 0; i < count; i++) {
		const struct slice_endpoint endpoint = slice_endpoint_at(slice, i);

		if (has_hints)
			hints_pack(packer, &endpoint, hints ? &hints[i] : NULL);
		if (packed)
			endpoint_write(packer, &endpoint, is_ipv4, packed->words + i * stride);
	}
	if (packed) {
		packed->is_ipv4 = is_ipv4;
		packed->hints = hints;
	}
	if (copy) {
		copy->endpoints = NULL;
		copy->packed = packed;
	}
}

static void slice_pack(struct packer *packer, const struct slice_object *slice,
		       struct slice_object *copy)
{
	struct slice_port *ports = array_pack(packer, slice->ports, slice->port_count,
					      sizeof(*slice->ports), FIELD(copy, 0, ports));

	slice_endpoints_pack(packer, slice, copy);
	string_pack(packer, slice->service_name, FIELD(copy, 0, service_name));
	for (size_t i = 0; i < slice->port_count; i++)
		string_pack(packer, slice->ports[i].name, FIELD(ports, i, name));
}

static void endpoints_pack(struct packer *packer, const struct endpoints_object *endpoints,
			   struct endpoints_object *copy)
{
	struct slice_object *slices =
		array_pack(packer, endpoints->slices, endpoints->slice_count,
			   sizeof(*endpoints->slices), FIELD(copy, 0, slices));

	for (size_t i = 0; i < endpoints->slice_count; i++)
		slice_pack(packer, &endpoints->slices[i], slices ? &slices[i] : NULL);
}

static void pod_pack(struct packer *packer, const struct pod_object *pod, struct pod_object *copy)
{
	struct pod_port *ports = array_pack(packer, pod->ports, pod->port_count,
					    sizeof(*pod->ports), FIELD(copy, 0, ports));

	string_pack(packer, pod->node_name, FIELD(copy, 0, node_name));
	for (size_t i = 0; i < pod->port_count; i++)
		string_pack(packer, pod->ports[i].name, FIELD(ports, i, name));
}

/*
 * Namespace and name come first and are not shared with other strings: together they are the key.
 */
static void key_pack(struct packer *packer, const struct object *object, struct object *copy)
{
	char *namespace_ =
		bytes_pack(packer, object->namespace_, strlen(object->namespace_) + 1, 1);
	char *name = bytes_pack(packer, object->name, strlen(object->name) + 1, 1);

	if (copy) {
		copy->namespace_ = namespace_;
		copy->name = name;
	}
}

/*
 * The size of an object without the unused rest of its union, which would waste memory in slices.
 */
static size_t object_size(enum object_kind kind)
{
	static const size_t sizes[OBJECT_KIND_COUNT] = {
		[OBJECT_SERVICE] = sizeof(struct service_object),
		[OBJECT_ENDPOINT_SLICE] = sizeof(struct slice_object),
		[OBJECT_ENDPOINTS] = sizeof(struct endpoints_object),
		[OBJECT_NODE] = sizeof(struct node_object),
		[OBJECT_POD] = sizeof(struct pod_object),
		[OBJECT_SERVICE_CIDR] = sizeof(struct service_cidr_object),
	};

	return offsetof(struct object, service) + (kind < OBJECT_KIND_COUNT ? sizes[kind] : 0);
}

static void object_pack(struct packer *packer, const struct object *object)
{
	struct object *copy = bytes_pack(packer, object, object_size(object->kind), sizeof(void *));

	key_pack(packer, object, copy);
	labels_pack(packer, &object->labels, FIELD(copy, 0, labels.items));
	switch (object->kind) {
	case OBJECT_SERVICE:
		service_pack(packer, &object->service, FIELD(copy, 0, service));
		break;
	case OBJECT_ENDPOINT_SLICE:
		slice_pack(packer, &object->slice, FIELD(copy, 0, slice));
		break;
	case OBJECT_ENDPOINTS:
		endpoints_pack(packer, &object->endpoints, FIELD(copy, 0, endpoints));
		break;
	case OBJECT_NODE:
		(void)array_pack(packer, object->node.internal_ips, object->node.internal_ip_count,
				 sizeof(*object->node.internal_ips),
				 FIELD(copy, 0, node.internal_ips));
		(void)array_pack(packer, object->node.pod_cidrs, object->node.pod_cidr_count,
				 sizeof(*object->node.pod_cidrs), FIELD(copy, 0, node.pod_cidrs));
		break;
	case OBJECT_POD:
		pod_pack(packer, &object->pod, FIELD(copy, 0, pod));
		break;
	case OBJECT_SERVICE_CIDR: /* no pointers */
	case OBJECT_KIND_COUNT:
		break;
	}
}

static int label_compare(const void *a, const void *b)
{
	const struct label *left = a, *right = b;
	int order = strcmp(left->key, right->key);

	return order ? order : strcmp(left->value, right->value);
}

static void labels_sort(const struct labels *labels)
{
	if (labels->count)
		qsort(labels->items, labels->count, sizeof(*labels->items), label_compare);
}

struct object *object_new(const struct object *object)
{
	struct packer packer;
	struct object *copy;

	packer.base = NULL;
	packer.used = 0;
	packer.no_memory = false;
	packer.string_count = 0;
	object_pack(&packer, object);
	packer.base = malloc(packer.used);
	if (!packer.base)
		return NULL;
	packer.used = 0;
	packer.string_count = 0;
	object_pack(&packer, object);
	copy = (struct object *)packer.base;
	labels_sort(&copy->labels);
	if (copy->kind == OBJECT_SERVICE)
		labels_sort(&copy->service.selector);
	if (packer.no_memory)
		object_free(take_ptr(copy));
	return copy;
}

/* Releases the node names of a packed slice. */
static void slice_release_names(const struct slice_object *slice)
{
	const struct packed_endpoints *packed = slice->packed;

	for (size_t i = 0; packed && i < slice->endpoint_count; i++)
		shared_name_release(packed->words[i * packed_stride(packed->is_ipv4)] &
				    PACKED_NAME);
}

void object_free(struct object *object)
{
	if (!object)
		return;
	if (object->kind == OBJECT_ENDPOINT_SLICE)
		slice_release_names(&object->slice);
	for (size_t i = 0; object->kind == OBJECT_ENDPOINTS && i < object->endpoints.slice_count;
	     i++)
		slice_release_names(&object->endpoints.slices[i]);
	free(object);
}

struct slice_endpoint slice_endpoint_at(const struct slice_object *slice, size_t index)
{
	const struct packed_endpoints *packed = slice->packed;
	struct slice_endpoint endpoint;
	const __u32 *words;

	if (!packed)
		return slice->endpoints[index];
	words = packed->words + index * packed_stride(packed->is_ipv4);
	endpoint = (struct slice_endpoint){
		.node_name = (char *)shared_name_text(words[0] & PACKED_NAME),
		.ready = words[0] & PACKED_READY,
		.serving = words[0] & PACKED_SERVING,
		.terminating = words[0] & PACKED_TERMINATING,
	};
	if (packed->is_ipv4)
		endpoint.addr = address_from_ipv4(words[1]);
	else
		memcpy(&endpoint.addr, &words[1], sizeof(endpoint.addr));
	if (packed->hints) {
		const struct packed_hints *hints = &packed->hints[index];

		endpoint.zone_hints = hints->zone_hints;
		endpoint.node_hints = hints->node_hints;
		endpoint.zone_hint_count = hints->zone_hint_count;
		endpoint.node_hint_count = hints->node_hint_count;
	}
	return endpoint;
}
