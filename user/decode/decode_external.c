/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The fields of a Service for clients outside the cluster, except its node ports. An unusable
 * address or range is skipped; the others stay.
 */

#include <ctype.h>
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include "decode/field.h"

#define PORT_MAX          65535
#define RANGE_TEXT_SIZE   (INET6_ADDRSTRLEN + sizeof("/128"))
#define EXTERNAL_IPS_MAX  1024 /* per Service: each makes a frontend for every port */
#define SOURCE_RANGES_MAX 4096

/* Addresses that no Service can have, because they mean something else on every machine. */
static bool address_is_special(const struct ip_addr *addr)
{
	struct in6_addr ipv6;

	if (address_is_ipv4(addr))
		return !addr->bytes[12] || addr->bytes[12] == IN_LOOPBACKNET ||
		       addr->bytes[12] >= 224;
	memcpy(&ipv6, addr->bytes, sizeof(ipv6));
	return IN6_IS_ADDR_UNSPECIFIED(&ipv6) || IN6_IS_ADDR_LOOPBACK(&ipv6) ||
	       IN6_IS_ADDR_MULTICAST(&ipv6);
}

static void address_add(struct decoder *decoder, const char *field, const char *text,
			struct ip_addr *addrs, __u32 *count)
{
	struct ip_addr *addr = &addrs[*count];

	if (address_parse(text, addr))
		decoder_fail(decoder, field, "\"%.60s\" is not an IP address", text);
	else if (address_is_special(addr))
		decoder_fail(decoder, field, "\"%.60s\" is an address no Service can have", text);
	if (!decoder_skip(decoder, "the address is skipped") && !decoder->err)
		++*count;
}

/* Room for the items of a list; NULL if there are none, too many, or memory is short. */
static void *items_room(struct decoder *decoder, const cJSON *list, const char *field, int max,
			size_t size)
{
	int count = cJSON_GetArraySize(list);

	if (count > max)
		decoder_fail(decoder, field, "has %d items, %d are allowed", count, max);
	if (!count || decoder->err)
		return NULL;
	return decoder_array(decoder, (size_t)count, size);
}

static void external_ips_decode(struct decoder *decoder, const cJSON *spec,
				struct service_object *service)
{
	const cJSON *list = field_array(decoder, spec, "externalIPs");
	const cJSON *item;

	service->external_ips = items_room(decoder, list, "externalIPs", EXTERNAL_IPS_MAX,
					   sizeof(*service->external_ips));
	if (!service->external_ips)
		return;
	cJSON_ArrayForEach(item, list)
		address_add(decoder, "externalIPs", cJSON_IsString(item) ? item->valuestring : "",
			    service->external_ips, &service->external_ip_count);
}

/*
 * Skips an ingress entry that has only a hostname (rule B29), and one with ipMode Proxy, whose
 * traffic passes through the load balancer (rule B28).
 */
static void ingress_decode(struct decoder *decoder, const cJSON *item,
			   struct service_object *service)
{
	const char *text = field_string(decoder, item, "ip", "");
	const char *mode = field_string(decoder, item, "ipMode", "VIP");

	if (!*text && !decoder->err)
		return;
	if (strcmp(mode, "VIP") != 0 && strcmp(mode, "Proxy") != 0)
		decoder_fail(decoder, "ipMode", "\"%.40s\" is neither VIP nor Proxy", mode);
	if (decoder_skip(decoder, "the address is skipped") || !strcmp(mode, "Proxy"))
		return;
	address_add(decoder, "ip", text, service->load_balancer_ips,
		    &service->load_balancer_ip_count);
}

static void load_balancer_decode(struct decoder *decoder, const cJSON *item,
				 struct service_object *service)
{
	const cJSON *status = field_object(decoder, item, "status");
	const cJSON *balancer = field_object(decoder, status, "loadBalancer");
	const cJSON *list = field_array(decoder, balancer, "ingress");
	const cJSON *ingress;
	size_t index = 0;

	decoder_at(decoder, "status.loadBalancer");
	service->load_balancer_ips = items_room(decoder, list, "ingress", EXTERNAL_IPS_MAX,
						sizeof(*service->load_balancer_ips));
	if (!service->load_balancer_ips)
		return;
	cJSON_ArrayForEach(ingress, list)
	{
		decoder_at_index(decoder, "status.loadBalancer.ingress", index++);
		ingress_decode(decoder, ingress, service);
	}
}

/* Ignores blanks around the range (rule I111). */
static int range_parse(const char *text, struct cidr *ret_range)
{
	char trimmed[RANGE_TEXT_SIZE];
	size_t length;

	while (isspace((unsigned char)*text))
		text++;
	length = strlen(text);
	while (length && isspace((unsigned char)text[length - 1]))
		length--;
	if (length >= sizeof(trimmed))
		return -1;
	memcpy(trimmed, text, length);
	trimmed[length] = '\0';
	return cidr_parse(trimmed, &ret_range->addr, &ret_range->prefix);
}

/*
 * A list without any valid range admits nobody: ignoring it would open what was meant to be closed.
 */
static void source_ranges_decode(struct decoder *decoder, const cJSON *spec,
				 struct service_object *service)
{
	const cJSON *list = field_array(decoder, spec, "loadBalancerSourceRanges");
	const cJSON *item;

	service->source_ranges = items_room(decoder, list, "loadBalancerSourceRanges",
					    SOURCE_RANGES_MAX, sizeof(*service->source_ranges));
	if (!service->source_ranges)
		return;
	cJSON_ArrayForEach(item, list)
	{
		const char *text = cJSON_IsString(item) ? item->valuestring : "";

		if (range_parse(text, &service->source_ranges[service->source_range_count]))
			decoder_fail(decoder, "loadBalancerSourceRanges",
				     "\"%.60s\" is not a range of addresses", text);
		if (decoder_skip(decoder, "the range is skipped: it lets nobody in"))
			service->has_bad_source_range = true;
		else
			service->source_range_count++;
	}
}

void service_external_decode(struct decoder *decoder, const cJSON *item, const cJSON *spec,
			     struct service_object *service)
{
	decoder_at(decoder, "spec");
	service->health_check_node_port =
		(__u16)field_number(decoder, spec, "healthCheckNodePort", 0, PORT_MAX, 0);
	external_ips_decode(decoder, spec, service);
	source_ranges_decode(decoder, spec, service);
	load_balancer_decode(decoder, item, service);
}
