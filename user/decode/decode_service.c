/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "base/address.h"
#include "decode/field.h"

#define AFFINITY_TIMEOUT_DEFAULT_S 10800
#define AFFINITY_TIMEOUT_MAX_S     86400
#define PORT_MAX                   65535
#define SERVICE_PORTS_MAX \
	1000 /* more would make the check for equal names slow, nobody has them \
	      */

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

/* Adds a ClusterIP, or notes that the Service is headless. */
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
	ret_port->port = (__u16)field_number(decoder, item, "port", 1, PORT_MAX, 0);
	ret_port->node_port = (__u16)field_number(decoder, item, "nodePort", 0, PORT_MAX, 0);
	target_port_decode(decoder, item, &ret_port->target_port);
}

/* A service port is identified by its name and protocol (rule A11), which must be unique. */
static void port_check_unique(struct decoder *decoder, const struct service_object *service)
{
	const struct service_port *port = &service->ports[service->port_count];

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
	int count = cJSON_GetArraySize(list);
	const cJSON *item;

	if (count > SERVICE_PORTS_MAX)
		decoder_fail(decoder, "ports", "has %d items, %d are allowed", count,
			     SERVICE_PORTS_MAX);
	if (!count || decoder->err)
		return;
	service->ports = decoder_array(decoder, (size_t)count, sizeof(*service->ports));
	if (!service->ports)
		return;
	cJSON_ArrayForEach(item, list)
	{
		decoder_at_index(decoder, "spec.ports", service->port_count);
		port_decode(decoder, item, &service->ports[service->port_count]);
		port_check_unique(decoder, service);
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

void service_decode(struct decoder *decoder, const cJSON *item, struct service_object *ret_service)
{
	const cJSON *spec = field_object(decoder, item, "spec");

	if (!spec)
		decoder_fail(decoder, "spec", "is missing");
	decoder_at(decoder, "spec");
	ret_service->type = type_decode(decoder, spec);
	cluster_ips_decode(decoder, spec, ret_service);
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
	if (!decoder->err)
		service_external_decode(decoder, item, spec, ret_service);
}
