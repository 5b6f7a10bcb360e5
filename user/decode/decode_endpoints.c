/* SPDX-License-Identifier: BSD-2-Clause */

/* Decodes EndpointSlices (v1 and v1beta1) and Endpoints, whose subsets become slices. */

#include <stdint.h>
#include <string.h>

#include "base/address.h"
#include "decode/decode_objects.h"

#define HINTS_MAX UINT16_MAX

static enum ip_family family_decode(struct decoder *decoder, const cJSON *item)
{
	const char *type = field_string(decoder, item, "addressType", "");

	if (!strcmp(type, "IPv4"))
		return FAMILY_IPV4;
	if (!strcmp(type, "IPv6"))
		return FAMILY_IPV6;
	if (strcmp(type, "FQDN"))
		decoder_fail(decoder, "addressType", "\"%.40s\" is none of IPv4, IPv6 and FQDN",
			     type);
	return 0;
}

/* Ports of a slice or a subset. A port without a number means all ports and is stored as 0. */
static void ports_decode(struct decoder *decoder, const cJSON *parent, const char *path,
			 struct slice_object *slice)
{
	const cJSON *list = field_array(decoder, parent, "ports");
	int count = cJSON_GetArraySize(list);
	const cJSON *item;

	if (!count)
		return;
	slice->ports = decoder_array(decoder, (size_t)count, sizeof(*slice->ports));
	if (!slice->ports)
		return;
	cJSON_ArrayForEach(item, list)
	{
		struct slice_port *port = &slice->ports[slice->port_count];

		decoder_at_index(decoder, path, slice->port_count++);
		if (!cJSON_IsObject(item))
			decoder_fail(decoder, "", "is not an object");
		port->name = field_name(decoder, item, "name", NAME_SIZE - 1, "");
		port->proto = field_proto(decoder, item);
		port->port = (__u16)field_number(decoder, item, "port", 0, PORT_MAX, 0);
	}
	decoder_at(decoder, "");
}

/* hints.forZones and forNodes: lists of {name: ...}. */
static char **hints_decode(struct decoder *decoder, const cJSON *hints, const char *field,
			   __u16 *ret_count)
{
	const cJSON *list = field_array(decoder, hints, field);
	int count = cJSON_GetArraySize(list);
	char **names = NULL;
	const cJSON *item;

	*ret_count = 0;
	if (count > HINTS_MAX)
		decoder_fail(decoder, field, "has %d items", count);
	else if (count)
		names = decoder_array(decoder, (size_t)count, sizeof(*names));
	if (!names)
		return NULL;
	cJSON_ArrayForEach(item, list) names[(*ret_count)++] =
		field_name(decoder, item, "name", OBJECT_NAME_MAX, "");
	return names;
}

/* Before release 1.20 v1beta1 has the node's name only in the topology labels. */
static char *node_name_decode(struct decoder *decoder, const cJSON *item)
{
	const cJSON *topology = field_object(decoder, item, "topology");
	const char *name = field_name(decoder, item, "nodeName", OBJECT_NAME_MAX, NULL);

	if (!name)
		name = field_name(decoder, topology, "kubernetes.io/hostname", OBJECT_NAME_MAX,
				  NULL);
	return name && *name ? (char *)name : NULL;
}

static void address_decode(struct decoder *decoder, const char *text, enum ip_family family,
			   struct slice_endpoint *endpoint)
{
	if (address_parse(text, &endpoint->addr))
		decoder_fail(decoder, "", "has \"%.60s\", which is not an IP address", text);
	else if (address_family(&endpoint->addr) != family)
		decoder_fail(decoder, "", "has \"%.60s\", which is not IPv%d", text, (int)family);
}

/*
 * Only the first address counts (rule A16); missing conditions have defaults (rule A17). False for
 * an endpoint without addresses, which is ignored.
 */
static bool endpoint_decode(struct decoder *decoder, const cJSON *item, enum ip_family family,
			    struct slice_endpoint *endpoint)
{
	const cJSON *addresses = field_array(decoder, item, "addresses");
	const cJSON *conditions = field_object(decoder, item, "conditions");
	const cJSON *hints = field_object(decoder, item, "hints");
	const cJSON *first = cJSON_GetArrayItem(addresses, 0);

	*endpoint = (struct slice_endpoint){};
	if (!cJSON_IsObject(item))
		decoder_fail(decoder, "", "is not an object");
	else if (first && !cJSON_IsString(first))
		decoder_fail(decoder, "addresses", "has an item that is not a string");
	else if (first)
		address_decode(decoder, first->valuestring, family, endpoint);
	endpoint->ready = field_bool(decoder, conditions, "ready", true);
	endpoint->serving = field_bool(decoder, conditions, "serving", true);
	endpoint->terminating = field_bool(decoder, conditions, "terminating", false);
	endpoint->node_name = node_name_decode(decoder, item);
	endpoint->zone_hints = hints_decode(decoder, hints, "forZones", &endpoint->zone_hint_count);
	endpoint->node_hints = hints_decode(decoder, hints, "forNodes", &endpoint->node_hint_count);
	return first;
}

/* A bad endpoint is skipped; the others stay. */
static void slice_endpoints_decode(struct decoder *decoder, const cJSON *item,
				   struct slice_object *slice)
{
	const cJSON *list = field_array(decoder, item, "endpoints");
	int count = cJSON_GetArraySize(list);
	const cJSON *endpoint;
	size_t index = 0;

	if (!count || decoder->err)
		return;
	slice->endpoints = decoder_array(decoder, (size_t)count, sizeof(*slice->endpoints));
	if (!slice->endpoints)
		return;
	cJSON_ArrayForEach(endpoint, list)
	{
		bool has_address;

		decoder_at_index(decoder, "endpoints", index++);
		has_address = endpoint_decode(decoder, endpoint, slice->family,
					      &slice->endpoints[slice->endpoint_count]);
		if (decoder->err)
			(void)decoder_skip(decoder, "the endpoint is skipped");
		else if (has_address)
			slice->endpoint_count++;
	}
	decoder_at(decoder, "");
}

void slice_decode(struct decoder *decoder, const cJSON *item, struct slice_object *ret_slice)
{
	const cJSON *labels =
		field_object(decoder, field_object(decoder, item, "metadata"), "labels");
	const char *name = field_name(decoder, labels, LABEL_SERVICE_NAME, OBJECT_NAME_MAX, NULL);

	ret_slice->service_name = name && *name ? (char *)name : NULL;
	ret_slice->family = family_decode(decoder, item);
	ports_decode(decoder, item, "ports", ret_slice);
	if (ret_slice->family)
		slice_endpoints_decode(decoder, item, ret_slice);
}

/* Adds an address of a subset to the slice of its family. */
static void subset_address_decode(struct decoder *decoder, const cJSON *item, bool ready,
				  struct slice_object slices[2])
{
	const char *text = field_string(decoder, item, "ip", "");
	struct slice_endpoint endpoint = {.ready = ready, .serving = ready};
	struct slice_object *slice;

	if (!cJSON_IsObject(item))
		decoder_fail(decoder, "", "has an item that is not an object");
	else if (address_parse(text, &endpoint.addr))
		decoder_fail(decoder, "", "has \"%.60s\", which is not an IP address", text);
	endpoint.node_name = field_name(decoder, item, "nodeName", OBJECT_NAME_MAX, NULL);
	if (endpoint.node_name && !*endpoint.node_name)
		endpoint.node_name = NULL;
	if (decoder->err) {
		(void)decoder_skip(decoder, "the endpoint is skipped");
		return;
	}
	slice = &slices[address_family(&endpoint.addr) == FAMILY_IPV6];
	slice->endpoints[slice->endpoint_count++] = endpoint;
}

static void subset_decode(struct decoder *decoder, const cJSON *item, size_t index,
			  struct slice_object slices[2])
{
	const cJSON *ready, *not_ready, *address;
	size_t count;

	decoder_at_index(decoder, "subsets", index);
	if (!cJSON_IsObject(item))
		decoder_fail(decoder, "", "is not an object");
	ready = field_array(decoder, item, "addresses");
	not_ready = field_array(decoder, item, "notReadyAddresses");
	slices[0].family = FAMILY_IPV4;
	slices[1].family = FAMILY_IPV6;
	ports_decode(decoder, item, "subset's ports", &slices[0]);
	slices[1].ports = slices[0].ports;
	slices[1].port_count = slices[0].port_count;
	if (decoder->err)
		return;
	count = (size_t)cJSON_GetArraySize(ready) + (size_t)cJSON_GetArraySize(not_ready);
	for (int i = 0; i < 2; i++)
		slices[i].endpoints = decoder_array(decoder, count, sizeof(*slices[i].endpoints));
	if (decoder->err)
		return;
	decoder_at_index(decoder, "subsets", index);
	cJSON_ArrayForEach(address, ready) subset_address_decode(decoder, address, true, slices);
	cJSON_ArrayForEach(address, not_ready)
		subset_address_decode(decoder, address, false, slices);
}

void endpoints_decode(struct decoder *decoder, const cJSON *item,
		      struct endpoints_object *ret_endpoints)
{
	const cJSON *list = field_array(decoder, item, "subsets");
	int count = cJSON_GetArraySize(list);
	const cJSON *subset;
	size_t index = 0;

	if (!count || decoder->err)
		return;
	ret_endpoints->slices =
		decoder_array(decoder, (size_t)count * 2, sizeof(*ret_endpoints->slices));
	if (!ret_endpoints->slices)
		return;
	cJSON_ArrayForEach(subset, list)
	{
		struct slice_object slices[2] = {};

		subset_decode(decoder, subset, index++, slices);
		for (int i = 0; i < 2; i++) {
			if (slices[i].endpoint_count)
				ret_endpoints->slices[ret_endpoints->slice_count++] = slices[i];
		}
	}
}
