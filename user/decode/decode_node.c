/* SPDX-License-Identifier: BSD-2-Clause */

/* Decodes Nodes, and ServiceCIDRs: the ranges of ClusterIPs. */

#include <string.h>

#include "base/address.h"
#include "decode/decode_objects.h"

#define TAINT_TO_BE_DELETED "ToBeDeletedByClusterAutoscaler"

static void cidr_decode(struct decoder *decoder, const char *text, const char *field,
			struct cidr *cidrs, size_t *count)
{
	struct cidr *cidr = &cidrs[*count];

	if (cidr_parse(text, &cidr->addr, &cidr->prefix))
		decoder_fail(decoder, field, "\"%.60s\" is not a range of addresses", text);
	else
		++*count;
}

static void pod_cidrs_decode(struct decoder *decoder, const cJSON *spec, struct node_object *node)
{
	const cJSON *list = field_array(decoder, spec, "podCIDRs");
	const char *single = field_string(decoder, spec, "podCIDR", "");
	const cJSON *item;

	decoder_at(decoder, "spec");
	node->pod_cidrs = decoder_array(decoder, (size_t)cJSON_GetArraySize(list) + 1,
					sizeof(*node->pod_cidrs));
	if (!node->pod_cidrs)
		return;
	cJSON_ArrayForEach(item, list)
		cidr_decode(decoder, cJSON_IsString(item) ? item->valuestring : "", "podCIDRs",
			    node->pod_cidrs, &node->pod_cidr_count);
	if (!node->pod_cidr_count && *single)
		cidr_decode(decoder, single, "podCIDR", node->pod_cidrs, &node->pod_cidr_count);
}

/*
 * True if the Node is being deleted or has the autoscaler's taint: load balancers must not send it
 * new connections (rule L132).
 */
static bool node_is_leaving(struct decoder *decoder, const cJSON *item)
{
	const cJSON *taints = field_array(decoder, field_object(decoder, item, "spec"), "taints");
	const cJSON *taint;

	if (field_get(field_object(decoder, item, "metadata"), "deletionTimestamp"))
		return true;
	cJSON_ArrayForEach(taint, taints)
	{
		if (!strcmp(field_string(decoder, taint, "key", ""), TAINT_TO_BE_DELETED))
			return true;
	}
	return false;
}

void service_cidr_decode(struct decoder *decoder, const cJSON *item,
			 struct service_cidr_object *ret_service_cidr)
{
	const cJSON *list = field_array(decoder, field_object(decoder, item, "spec"), "cidrs");
	const cJSON *cidr;

	decoder_at(decoder, "spec");
	cJSON_ArrayForEach(cidr, list)
	{
		if (ret_service_cidr->cidr_count == 2) {
			decoder_fail(decoder, "cidrs", "has more than two ranges");
			return;
		}
		cidr_decode(decoder, cJSON_IsString(cidr) ? cidr->valuestring : "", "cidrs",
			    ret_service_cidr->cidrs, &ret_service_cidr->cidr_count);
	}
}

static void node_addresses_decode(struct decoder *decoder, const cJSON *item,
				  struct node_object *ret_node)
{
	const cJSON *list =
		field_array(decoder, field_object(decoder, item, "status"), "addresses");
	int count = cJSON_GetArraySize(list);
	const cJSON *address;
	size_t index = 0;

	if (!count)
		return;
	ret_node->internal_ips =
		decoder_array(decoder, (size_t)count, sizeof(*ret_node->internal_ips));
	if (!ret_node->internal_ips)
		return;
	cJSON_ArrayForEach(address, list)
	{
		const char *type, *text;

		decoder_at_index(decoder, "status.addresses", index++);
		type = field_string(decoder, address, "type", "");
		text = field_string(decoder, address, "address", "");
		if (strcmp(type, "InternalIP"))
			continue;
		if (address_parse(text, &ret_node->internal_ips[ret_node->internal_ip_count]))
			decoder_fail(decoder, "address", "\"%.60s\" is not an IP address", text);
		else
			ret_node->internal_ip_count++;
	}
}

void node_decode(struct decoder *decoder, const cJSON *item, struct node_object *ret_node)
{
	ret_node->leaving = node_is_leaving(decoder, item);
	pod_cidrs_decode(decoder, field_object(decoder, item, "spec"), ret_node);
	node_addresses_decode(decoder, item, ret_node);
}
