/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "base/address.h"
#include "decode/decode_objects.h"

static void pod_ip_decode(struct decoder *decoder, const char *text, struct pod_object *pod)
{
	struct ip_addr addr;

	if (!*text)
		return;
	if (address_parse(text, &addr))
		decoder_fail(decoder, "podIPs", "has \"%.60s\", which is not an IP address", text);
	else if (pod->ip_count < sizeof(pod->ips) / sizeof(pod->ips[0]))
		pod->ips[pod->ip_count++] = addr;
}

static void status_decode(struct decoder *decoder, const cJSON *item, struct pod_object *pod)
{
	const cJSON *status = field_object(decoder, item, "status");
	const cJSON *ips, *conditions, *element;
	const char *phase;

	decoder_at(decoder, "status");
	phase = field_string(decoder, status, "phase", "");
	pod->finished = !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
	ips = field_array(decoder, status, "podIPs");
	cJSON_ArrayForEach(element, ips)
		pod_ip_decode(decoder, field_string(decoder, element, "ip", ""), pod);
	if (!pod->ip_count)
		pod_ip_decode(decoder, field_string(decoder, status, "podIP", ""), pod);
	conditions = field_array(decoder, status, "conditions");
	cJSON_ArrayForEach(element, conditions)
	{
		if (!strcmp(field_string(decoder, element, "type", ""), "Ready"))
			pod->ready = !strcmp(field_string(decoder, element, "status", ""), "True");
	}
}

static size_t container_ports_count(const cJSON *containers)
{
	const cJSON *container;
	size_t count = 0;

	cJSON_ArrayForEach(container, containers) count +=
		(size_t)cJSON_GetArraySize(field_get(container, "ports"));
	return count;
}

static void container_ports_decode(struct decoder *decoder, const cJSON *container,
				   struct pod_object *pod)
{
	const cJSON *list = field_array(decoder, container, "ports");
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		struct pod_port port = {};

		port.name = field_name(decoder, item, "name", NAME_SIZE - 1, "");
		port.proto = field_proto(decoder, item);
		port.port = (__u16)field_number(decoder, item, "containerPort", 1, PORT_MAX, 0);
		if (*port.name && port.port && !decoder->err)
			pod->ports[pod->port_count++] = port;
	}
}

/* Named ports of containers, and of init containers that keep running alongside them. */
static void ports_decode(struct decoder *decoder, const cJSON *spec, struct pod_object *pod)
{
	const cJSON *containers = field_array(decoder, spec, "containers");
	const cJSON *init = field_array(decoder, spec, "initContainers");
	size_t count = container_ports_count(containers) + container_ports_count(init);
	const cJSON *container;
	size_t index = 0;

	if (!count)
		return;
	pod->ports = decoder_array(decoder, count, sizeof(*pod->ports));
	if (!pod->ports)
		return;
	cJSON_ArrayForEach(container, containers)
	{
		decoder_at_index(decoder, "spec.containers", index++);
		container_ports_decode(decoder, container, pod);
	}
	index = 0;
	cJSON_ArrayForEach(container, init)
	{
		decoder_at_index(decoder, "spec.initContainers", index++);
		if (!strcmp(field_string(decoder, container, "restartPolicy", ""), "Always"))
			container_ports_decode(decoder, container, pod);
	}
}

void pod_decode(struct decoder *decoder, const cJSON *item, struct pod_object *ret_pod)
{
	const cJSON *spec = field_object(decoder, item, "spec");
	const cJSON *metadata = field_object(decoder, item, "metadata");

	ret_pod->terminating = field_get(metadata, "deletionTimestamp");
	decoder_at(decoder, "spec");
	ret_pod->node_name = field_name(decoder, spec, "nodeName", OBJECT_NAME_MAX, NULL);
	if (ret_pod->node_name && !*ret_pod->node_name)
		ret_pod->node_name = NULL;
	ports_decode(decoder, spec, ret_pod);
	status_decode(decoder, item, ret_pod);
}
