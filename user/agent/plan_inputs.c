/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/plan_inputs.h"

#include <stdio.h>
#include <string.h>

#include "agent/cluster_nodes.h"
#include "agent/plane.h"
#include "agent/service_cidrs.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "agent/near_clients.h"
#include "datapath/datapath.h"
#include "link/link_watch.h"

static void node_ports_log(const struct node_port_addresses *ports,
			   const struct traffic_options *traffic)
{
	const bool is_default = !traffic->nodeport_address_count && !traffic->is_nodeport_primary &&
				!traffic->is_nodeport_all;
	char text[512] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < ports->count; i++) {
		size_t length = strlen(text);

		(void)snprintf(text + length, sizeof(text) - length, "%s%s", length ? ", " : "",
			       address_format(&ports->addresses[i], one));
	}
	log_info(
		"NodePorts are served on %s%s", *text ? text : "no address",
		is_default
			? ", the node's primary addresses; --proxy-mode iptables serves them on all, "
			  "as kube-proxy does in that mode, its default"
			: "");
}

/* Returns true if the addresses of NodePorts have changed. `links` may be NULL. */
static bool node_ports_refresh(struct plan_inputs *plan_inputs, struct node_facts *facts,
			       const struct link_watch *links)
{
	auto_cleanup(cleanup_free) struct ip_addr *read = NULL;
	struct node_port_addresses ports;
	int err = 0;

	if (links) {
		facts->assigned = link_watch_addresses(links, &facts->assigned_count);
		facts->guesses[0] = link_watch_node_address(links, FAMILY_IPV4);
		facts->guesses[1] = link_watch_node_address(links, FAMILY_IPV6);
	} else {
		err = node_addresses_read(&read, &facts->assigned_count);
		facts->assigned = read;
	}
	if (!err)
		err = node_port_addresses_choose(facts, &ports);
	if (err) {
		(void)log_err(err, "cannot tell where NodePorts are to be served, continuing");
		return false;
	}
	if (node_port_addresses_equal(&ports, &plan_inputs->node_ports)) {
		node_port_addresses_fini(&ports);
		return false;
	}
	node_port_addresses_fini(&plan_inputs->node_ports);
	plan_inputs->node_ports = ports;
	if (links)
		node_ports_log(&ports, facts->traffic);
	return true;
}

/* Writes what programs read of Nodes and ServiceCIDRs, if it may have changed or the maps have. */
static void node_maps_write(struct plan_inputs *plan_inputs, const struct agent_options *options,
			    struct model *model, const struct plane *plane)
{
	const struct object *node = model_node(model, options->node_name);
	const struct datapath *datapath = plane->datapath;
	const uint64_t changes = model_changes(model, OBJECT_NODE) +
				 model_changes(model, OBJECT_SERVICE_CIDR) +
				 model_is_listed(model, OBJECT_NODE);

	if (plane->number == plan_inputs->written_plane && changes == plan_inputs->written_changes)
		return;
	plan_inputs->written_plane = plane->number;
	plan_inputs->written_changes = changes;
	near_ranges_write(datapath_map(datapath, MAP_NEAR_RANGES), &options->traffic,
			  node ? &node->node : NULL);
	service_cidrs_write(datapath_map(datapath, MAP_SERVICE_RANGES), &options->traffic, model);
	if (options->config.forwarding != FORWARDING_SNAT)
		plan_inputs->has_no_address = !cluster_nodes_write(
			datapath_map(datapath, MAP_CLUSTER_NODES),
			datapath_map(datapath, MAP_NODE_ADDRESS), model, options->node_name);
}

bool plan_inputs_refresh(struct plan_inputs *plan_inputs, const struct agent_options *options,
			 struct model *model, const struct plane *plane)
{
	const struct object *node = model_node(model, options->node_name);
	const char *label = node ? labels_get(&node->labels, LABEL_ZONE) : NULL;
	const char *zone = label ? label : "";
	const bool has_moved = strcmp(plan_inputs->zone, zone) != 0;
	struct node_facts facts = {
		.traffic = &options->traffic,
		.node = node ? &node->node : NULL,
		.with_loopback = options->with_socket && options->traffic.with_localhost,
	};

	(void)snprintf(plan_inputs->zone, sizeof(plan_inputs->zone), "%s", zone);
	if (plane)
		node_maps_write(plan_inputs, options, model, plane);
	return node_ports_refresh(plan_inputs, &facts, plane ? plane->links : NULL) || has_moved;
}

void plan_inputs_context(const struct plan_inputs *plan_inputs, struct plan_context *context)
{
	const struct node_port_addresses *ports = &plan_inputs->node_ports;

	context->zone = *plan_inputs->zone ? plan_inputs->zone : NULL;
	context->node_port_addresses = ports->addresses;
	context->node_port_address_count = ports->count;
	memcpy(context->node_ips, ports->node_ips, sizeof(context->node_ips));
}

void plan_inputs_fini(struct plan_inputs *plan_inputs)
{
	node_port_addresses_fini(&plan_inputs->node_ports);
}
