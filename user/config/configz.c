/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/configz.h"

#include <cjson/cJSON.h>
#include <stdio.h>

#include "base/address.h"
#include "config/kube_proxy_config.h"
#include "model/cidr.h"
#include "words/words.h"

static void text_add(cJSON *object, const char *name, const char *text)
{
	if (text)
		(void)cJSON_AddStringToObject(object, name, text);
}

static void text_set(cJSON *object, const char *name, const char *text)
{
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
	text_add(object, name, text);
}

static void timeouts_add(cJSON *object, const struct config *config)
{
	const struct {
		const char *name;
		__u32 seconds;
	} timeouts[] = {
		{"tcpNew", config->timeout_tcp_new_s},
		{"tcpEstablished", config->timeout_tcp_established_s},
		{"tcpClosing", config->timeout_tcp_closing_s},
		{"tcpClosed", config->timeout_tcp_closed_s},
		{"udpNew", config->timeout_udp_new_s},
		{"udp", config->timeout_udp_s},
	};
	cJSON *seconds = cJSON_AddObjectToObject(object, "timeoutSeconds");

	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++)
		(void)cJSON_AddNumberToObject(seconds, timeouts[i].name, timeouts[i].seconds);
}

/* Adds the sizes that flags set; 0: the size follows from the source's content. */
static void sizes_add(cJSON *object, const struct agent_options *options)
{
	cJSON *sizes = cJSON_AddObjectToObject(object, "maxEntries");

	(void)cJSON_AddNumberToObject(sizes, "services", options->services_max);
	(void)cJSON_AddNumberToObject(sizes, "frontends", options->frontends_max);
	(void)cJSON_AddNumberToObject(sizes, "sourceRanges", options->source_ranges_max);
	(void)cJSON_AddNumberToObject(sizes, "slots", options->slots_max);
	(void)cJSON_AddNumberToObject(sizes, "backends", options->backends_max);
	(void)cJSON_AddNumberToObject(sizes, "flows", options->flows_max);
	(void)cJSON_AddNumberToObject(sizes, "affinity", options->affinity_max);
}

static void source_add(cJSON *object, const struct agent_options *options)
{
	cJSON *servers = cJSON_AddArrayToObject(object, "servers");

	for (size_t i = 0; i < options->server_count; i++)
		(void)cJSON_AddItemToArray(servers, cJSON_CreateString(options->servers[i]));
	text_add(object, "manifests", options->manifests);
	(void)cJSON_AddBoolToObject(object, "strict", options->strict);
	text_add(object, "stateDir", options->state_dir);
	(void)cJSON_AddNumberToObject(object, "apiSilenceSeconds", options->api_silence_s);
}

static void cidrs_add(cJSON *object, const char *name, const struct cidr *cidrs, size_t count)
{
	cJSON *array = cJSON_AddArrayToObject(object, name);

	for (size_t i = 0; i < count; i++) {
		char address[ADDRESS_TEXT_SIZE], text[ADDRESS_TEXT_SIZE + sizeof("/128")];
		unsigned int mapped = cidr_family(&cidrs[i]) == FAMILY_IPV4 ? 96 : 0;

		(void)snprintf(text, sizeof(text), "%s/%u", address_format(&cidrs[i].addr, address),
			       cidrs[i].prefix - mapped);
		(void)cJSON_AddItemToArray(array, cJSON_CreateString(text));
	}
}

/* kube-proxy's mode does not choose a datapath here, but it decides where NodePorts are served. */
static void node_ports_add(cJSON *object, const struct agent_options *options)
{
	const struct traffic_options *traffic = &options->traffic;
	cJSON *node_ports = cJSON_AddObjectToObject(object, "nodePorts");

	text_add(object, "kubeProxyMode", setting_text(&options->values, SETTING_MODE));
	text_add(node_ports, "addresses",
		 traffic->is_nodeport_all          ? "all"
		 : traffic->nodeport_address_count ? "nodePortAddresses"
						   : "primary");
	(void)cJSON_AddBoolToObject(node_ports, "loopback",
				    options->with_socket && traffic->with_localhost);
	(void)cJSON_AddBoolToObject(node_ports, "bindProtection", options->bind_protection);
}

static void fairlead_fields_add(cJSON *object, const struct agent_options *options)
{
	const struct config *config = &options->config;
	cJSON *hooks = cJSON_AddArrayToObject(object, "hooks");
	cJSON *links = cJSON_AddObjectToObject(object, "links");

	source_add(object, options);
	text_add(object, "cgroup", options->cgroup);
	text_add(object, "pinDir", options->pin_dir);
	if (options->with_socket)
		(void)cJSON_AddItemToArray(hooks, cJSON_CreateString("socket"));
	if (options->with_tc)
		(void)cJSON_AddItemToArray(hooks, cJSON_CreateString("tc"));
	(void)cJSON_AddBoolToObject(object, "clsact", options->force_clsact);
	text_add(object, "xdp", xdp_mode_word(options->xdp_mode));
	(void)cJSON_AddNumberToObject(object, "hookCheckSeconds", options->hook_check_s);
	text_add(links, "pod", options->links.pod);
	text_add(links, "uplink", options->links.uplink);
	text_add(links, "overlay", options->links.overlay);
	text_add(links, "ignore", options->links.ignore);
	sizes_add(object, options);
	timeouts_add(object, config);
	text_add(object, "forwarding", forwarding_word(config->forwarding));
	node_ports_add(object, options);
	cidrs_add(object, "serviceCIDRs", options->traffic.service_cidrs,
		  options->traffic.service_cidr_count);
	(void)cJSON_AddNumberToObject(object, "rejectsPerSecond", config->rejects_per_second);
	(void)cJSON_AddNumberToObject(object, "sourcePortMin", config->source_port_min);
	(void)cJSON_AddNumberToObject(object, "sourcePortMax", config->source_port_max);
	(void)cJSON_AddNumberToObject(object, "lowPortMin", config->low_port_min);
	(void)cJSON_AddBoolToObject(object, "countPackets", config->count_packets);
	text_add(object, "serviceMetrics", options->service_metrics ? "all" : "none");
	text_add(object, "disabledMetrics", options->disabled_metrics);
	(void)cJSON_AddNumberToObject(object, "verbosity", options->verbosity);
}

char *configz_write(const struct agent_options *options)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *proxy = kube_proxy_config_tree(&options->values);
	char *text;

	(void)cJSON_AddItemToObject(root, "kubeproxy.config.k8s.io", proxy);
	/* Report the values in effect where they differ from the settings. */
	text_set(proxy, "mode", "fairlead");
	text_set(proxy, "hostnameOverride", options->node_name);
	fairlead_fields_add(cJSON_AddObjectToObject(proxy, "fairlead"), options);
	text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}
