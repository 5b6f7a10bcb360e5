/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Decodes Services. An unusable field rejects the whole Service, but an unusable address or range
 * for clients outside the cluster is skipped, and the others stay.
 */

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text_set.h"
#include "decode/decode_objects.h"

#define AFFINITY_TIMEOUT_DEFAULT_S 10800
#define AFFINITY_TIMEOUT_MAX_S     86400
#define RANGE_TEXT_SIZE            (INET6_ADDRSTRLEN + sizeof("/128"))

static enum service_type type_decode(struct decoder *decoder, const cJSON *spec)
{
	static const char *const types[] = {
		[SERVICE_TYPE_CLUSTER_IP] = "ClusterIP",
		[SERVICE_TYPE_NODE_PORT] = "NodePort",
		[SERVICE_TYPE_LOAD_BALANCER] = "LoadBalancer",
		[SERVICE_TYPE_EXTERNAL_NAME] = "ExternalName",
	};
	const char *name = field_string(decoder, spec, "type", types[SERVICE_TYPE_CLUSTER_IP]);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!strcmp(name, types[i]))
			return (enum service_type)i;
	}
	if (*name)
		decoder_fail(decoder, "type", "\"%.40s\" is not a type of Service", name);
	return SERVICE_TYPE_CLUSTER_IP;
}

/* Adds a ClusterIP, or records that the Service is headless. */
static void cluster_ip_decode(struct decoder *decoder, const char *text, const char *field,
			      struct service_object *service)
{
	struct ip_addr addr;

	if (!strcmp(text, "None"))
		service->headless = true;
	else if (!*text)
		return;
	else if (address_parse(text, &addr))
		decoder_fail(decoder, field, "\"%.60s\" is not an IP address", text);
	else if (service->cluster_ip_count &&
		 address_family(&service->cluster_ips[0]) == address_family(&addr))
		decoder_fail(decoder, field, "has two addresses of one family");
	else if (service->cluster_ip_count < 2)
		service->cluster_ips[service->cluster_ip_count++] = addr;
}

static void cluster_ips_decode(struct decoder *decoder, const cJSON *spec,
			       struct service_object *service)
{
	const cJSON *list = field_array(decoder, spec, "clusterIPs");
	const char *single = field_string(decoder, spec, "clusterIP", "");
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		if (cJSON_IsString(item))
			cluster_ip_decode(decoder, item->valuestring, "clusterIPs", service);
		else
			decoder_fail(decoder, "clusterIPs", "has an item that is not a string");
	}
	if (!service->cluster_ip_count && !service->headless)
		cluster_ip_decode(decoder, single, "clusterIP", service);
}

/*
 * They decide only which ClusterIPs a manifest without them gets: a value that is not known rejects
 * nothing.
 */
static void families_decode(struct decoder *decoder, const cJSON *spec,
			    struct service_object *service)
{
	const char *policy = field_string(decoder, spec, "ipFamilyPolicy", "");
	const cJSON *family;
	size_t count = 0;

	cJSON_ArrayForEach(family, field_array(decoder, spec, "ipFamilies"))
	{
		const char *name = cJSON_IsString(family) ? family->valuestring : "";

		if (count < 2 && !strcmp(name, "IPv4"))
			service->ip_families[count++] = FAMILY_IPV4;
		else if (count < 2 && !strcmp(name, "IPv6"))
			service->ip_families[count++] = FAMILY_IPV6;
	}
	if (!strcmp(policy, "PreferDualStack"))
		service->ip_family_policy = FAMILY_POLICY_PREFER_DUAL;
	else if (!strcmp(policy, "RequireDualStack"))
		service->ip_family_policy = FAMILY_POLICY_REQUIRE_DUAL;
}

static __u32 affinity_decode(struct decoder *decoder, const cJSON *spec)
{
	const char *affinity = field_string(decoder, spec, "sessionAffinity", "None");
	const cJSON *config = field_object(decoder, spec, "sessionAffinityConfig");
	const cJSON *client = field_object(decoder, config, "clientIP");

	if (!*affinity || !strcmp(affinity, "None"))
		return 0;
	if (strcmp(affinity, "ClientIP"))
		decoder_fail(decoder, "sessionAffinity", "\"%.40s\" is neither None nor ClientIP",
			     affinity);
	return field_number(decoder, client, "timeoutSeconds", 1, AFFINITY_TIMEOUT_MAX_S,
			    AFFINITY_TIMEOUT_DEFAULT_S);
}

static void target_port_decode(struct decoder *decoder, const cJSON *item,
			       struct target_port *ret_target)
{
	const cJSON *field = field_get(item, "targetPort");

	if (cJSON_IsString(field) && *field->valuestring)
		ret_target->name = field_name(decoder, item, "targetPort", NAME_SIZE - 1, NULL);
	else if (cJSON_IsNumber(field))
		ret_target->number =
			(__u16)field_number(decoder, item, "targetPort", 0, PORT_MAX, 0);
	else if (field && !cJSON_IsString(field))
		decoder_fail(decoder, "targetPort", "is neither a number nor a name");
}

static void port_decode(struct decoder *decoder, const cJSON *item, struct service_port *ret_port)
{
	if (!cJSON_IsObject(item))
		decoder_fail(decoder, "", "is not an object");
	if (!field_get(item, "port"))
		decoder_fail(decoder, "port", "is missing");
	ret_port->name = field_name(decoder, item, "name", NAME_SIZE - 1, "");
	ret_port->proto = field_proto(decoder, item);
	if (!ret_port->proto)
		ret_port->unknown_proto = field_string(decoder, item, "protocol", NULL);
	ret_port->port = (__u16)field_number(decoder, item, "port", 1, PORT_MAX, 0);
	ret_port->node_port = (__u16)field_number(decoder, item, "nodePort", 0, PORT_MAX, 0);
	target_port_decode(decoder, item, &ret_port->target_port);
}

/* The port names that were read so far: of TCP, of UDP, and of other protocols. */
struct port_names {
	struct text_set sets[3];
};

static void port_names_fini(struct port_names *names)
{
	for (size_t i = 0; i < sizeof(names->sets) / sizeof(names->sets[0]); i++)
		text_set_fini(&names->sets[i]);
}

/* A service port is identified by its name and protocol (rule A11), which must be unique. */
static void port_check_unique(struct decoder *decoder, const struct service_object *service,
			      struct port_names *names)
{
	const struct service_port *port = &service->ports[service->port_count];
	size_t set = port->proto == IPPROTO_TCP ? 0 : port->proto == IPPROTO_UDP ? 1 : 2;
	int err;

	if (decoder->err)
		return;
	err = text_set_add(&names->sets[set], port->name);
	if (err != -EEXIST) {
		decoder->err = err;
		return;
	}
	for (size_t i = 0; i < service->port_count; i++) {
		if (service->ports[i].proto == port->proto &&
		    !strcmp(service->ports[i].name, port->name))
			decoder_fail(decoder, "name",
				     "and protocol are those of spec.ports[%zu] as well", i);
	}
}

static void ports_decode(struct decoder *decoder, const cJSON *spec, struct service_object *service)
{
	const cJSON *list = field_array(decoder, spec, "ports");
	auto_cleanup(port_names_fini) struct port_names names = {};
	int count = cJSON_GetArraySize(list);
	const cJSON *item;

	if (!count || decoder->err)
		return;
	service->ports = decoder_array(decoder, (size_t)count, sizeof(*service->ports));
	if (!service->ports)
		return;
	cJSON_ArrayForEach(item, list)
	{
		decoder_at_index(decoder, "spec.ports", service->port_count);
		port_decode(decoder, item, &service->ports[service->port_count]);
		port_check_unique(decoder, service, &names);
		service->port_count++;
	}
	decoder_at(decoder, "spec");
}

static bool policy_is_local(struct decoder *decoder, const cJSON *spec, const char *field)
{
	const char *policy = field_string(decoder, spec, field, "Cluster");

	if (*policy && strcmp(policy, "Local") && strcmp(policy, "Cluster"))
		decoder_fail(decoder, field, "\"%.40s\" is neither Cluster nor Local", policy);
	return !strcmp(policy, "Local");
}

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

/* Allocates an array for a list's items; NULL: there are none, or no memory. */
static void *list_alloc(struct decoder *decoder, const cJSON *list, size_t size)
{
	int count = cJSON_GetArraySize(list);

	if (!count || decoder->err)
		return NULL;
	return decoder_array(decoder, (size_t)count, size);
}

static void external_ips_decode(struct decoder *decoder, const cJSON *spec,
				struct service_object *service)
{
	const cJSON *list = field_array(decoder, spec, "externalIPs");
	const cJSON *item;

	service->external_ips = list_alloc(decoder, list, sizeof(*service->external_ips));
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
	service->load_balancer_ips = list_alloc(decoder, list, sizeof(*service->load_balancer_ips));
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

	service->source_ranges = list_alloc(decoder, list, sizeof(*service->source_ranges));
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

void service_decode(struct decoder *decoder, const cJSON *item, struct service_object *ret_service)
{
	const cJSON *spec = field_object(decoder, item, "spec");

	if (!spec)
		decoder_fail(decoder, "spec", "is missing");
	decoder_at(decoder, "spec");
	ret_service->type = type_decode(decoder, spec);
	cluster_ips_decode(decoder, spec, ret_service);
	families_decode(decoder, spec, ret_service);
	ret_service->affinity_timeout_s = affinity_decode(decoder, spec);
	ret_service->internal_local = policy_is_local(decoder, spec, "internalTrafficPolicy");
	ret_service->external_local = policy_is_local(decoder, spec, "externalTrafficPolicy");
	ret_service->publish_not_ready =
		field_bool(decoder, spec, "publishNotReadyAddresses", false);
	ret_service->health_check_node_port =
		(__u16)field_number(decoder, spec, "healthCheckNodePort", 0, PORT_MAX, 0);
	field_labels(decoder, spec, "selector", NULL, &ret_service->selector);
	ports_decode(decoder, spec, ret_service);
	/* Last: the errors before this reject the whole Service. */
	if (decoder->err)
		return;
	external_ips_decode(decoder, spec, ret_service);
	source_ranges_decode(decoder, spec, ret_service);
	load_balancer_decode(decoder, item, ret_service);
}
