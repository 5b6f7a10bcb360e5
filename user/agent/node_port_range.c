/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/node_port_range.h"

#include <stdio.h>

#include "datapath/local_port_range.h"

struct search {
	const struct local_ports *ports;
	struct node_port_range *range;
};

static int service_search(const struct object *service, void *context)
{
	const struct search *search = context;
	struct node_port_range *range = search->range;

	if (!object_is_served_service(service))
		return 0;
	for (__u32 i = 0; i < service->service.port_count; i++) {
		const __u16 node_port = service->service.ports[i].node_port;

		if (!node_port || !local_ports_have(search->ports, node_port))
			continue;
		if (!range->count++)
			(void)snprintf(range->first, sizeof(range->first), "%u of Service %s/%s",
				       node_port, service->namespace_, service->name);
	}
	return 0;
}

int node_port_range_read(struct model *model, struct node_port_range *ret_range)
{
	struct local_ports ports;
	struct search search = {.ports = &ports, .range = ret_range};
	int err = local_ports_read(&ports);

	if (err)
		return err;
	*ret_range = (struct node_port_range){.min = ports.min, .max = ports.max};
	return model_each(model, OBJECT_SERVICE, service_search, &search);
}
