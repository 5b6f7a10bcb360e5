/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/plan_inputs.h"

#include <string.h>

#include "base/address.h"
#include "agent/cluster_nodes.h"
#include "agent/near_clients.h"
#include "agent/service_cidrs.h"
#include "base/cleanup.h"
#include "base/log.h"

static void node_ports_log(const struct node_port_addresses *ports)
{
	char text[512] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < ports->count; i++) {
		size_t length = strlen(text);

		(void)snprintf(text + length, sizeof(text) - length, "%s%s", length ? ", " : "",
			       address_format(&ports->addresses[i], one));
	}
	log_info("NodePorts are served on %s", *text ? text : "no address");
}

static bool node_ports_look(struct plan_inputs *plan_inputs, struct node_facts *facts,
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
		err = node_ports_choose(facts, &ports);
	if (err) {
		(void)log_err(err, "cannot tell where NodePorts are to be served, continuing");
		return false;
	}
	if (node_ports_equal(&ports, &plan_inputs->node_ports)) {
		node_ports_fini(&ports);
		return false;
	}
	node_ports_fini(&plan_inputs->node_ports);
	plan_inputs->node_ports = ports;
	if (links)
		node_ports_log(&ports);
	return true;
}

bool plan_inputs_refresh(struct plan_inputs *plan_inputs, const struct agent_options *options,
			 struct model *model, const struct link_watch *links,
			 const struct datapath *datapath)
{
	const struct object *node = model_node(model, options->node_name);
	struct node_facts facts = {
		.traffic = &options->traffic,
		.node = node ? &node->node : NULL,
		.with_loopback = options->with_socket,
	};
	uint64_t changes;

	changes = model_changes(model, OBJECT_NODE) + model_changes(model, OBJECT_SERVICE_CIDR) +
		  model_is_listed(model, OBJECT_NODE);
	if (datapath && (datapath != plan_inputs->told || changes != plan_inputs->told_changes)) {
		plan_inputs->told = datapath;
		plan_inputs->told_changes = changes;
		near_ranges_write(datapath_map(datapath, "near_ranges"), &options->traffic,
				  facts.node);
		service_cidrs_write(datapath_map(datapath, "service_ranges"), &options->traffic,
				    model);
		if (options->config.forwarding != FORWARDING_SNAT)
			plan_inputs->has_no_address = !cluster_nodes_write(
				datapath_map(datapath, "cluster_nodes"),
				datapath_map(datapath, "node_address"), model, options->node_name);
	}
	return node_ports_look(plan_inputs, &facts, links);
}

void plan_inputs_context(const struct plan_inputs *plan_inputs, struct plan_context *context)
{
	const struct node_port_addresses *ports = &plan_inputs->node_ports;

	context->node_port_addresses = ports->addresses;
	context->node_port_address_count = ports->count;
	memcpy(context->node_ips, ports->node_ips, sizeof(context->node_ips));
}

void plan_inputs_fini(struct plan_inputs *plan_inputs)
{
	node_ports_fini(&plan_inputs->node_ports);
}
