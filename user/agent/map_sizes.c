/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/map_sizes.h"

#include "base/cleanup.h"
#include "fairlead/limits.h"
#include "plan/plan.h"

/* Entries of `addresses` for the addresses of the node's links. */
#define NODE_ADDRESSES 1024

struct needs {
	struct model *model;
	struct plan_context context;
	uint64_t services, frontends, source_ranges, slots, backends;
	uint64_t left_alone; /* ClusterIPs */
};

static void needs_add(struct needs *needs, const struct plan *plan)
{
	needs->left_alone += plan->left_alone_count;
	for (size_t i = 0; i < plan->port_count; i++) {
		const struct planned_port *port = &plan->ports[i];

		if (port->unprogrammed)
			continue;
		needs->services++;
		needs->frontends += port->frontend_count;
		needs->source_ranges += port->source_range_count;
		needs->backends += port->backend_count;
		for (size_t j = 0; j < port->backend_count; j++)
			needs->slots += port->backends[j].in_cluster + port->backends[j].in_local;
	}
}

static int needs_of_service(const struct object *service, void *context)
{
	struct needs *needs = context;
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct plan plan;
	int count, err;

	count = model_slices(needs->model, service, &slices);
	if (count < 0)
		return count;
	err = plan_service(&needs->context, service, slices, (size_t)count, &plan);
	if (err)
		return err;
	needs_add(needs, &plan);
	plan_fini(&plan);
	return 0;
}

static const char *link_with_no_address(const struct ip_addr *addr, void *context)
{
	(void)addr;
	(void)context;
	return NULL;
}

/* The value of the flag, or else `minimum` doubled until it is at least `factor` times the need. */
static uint32_t size_of(uint32_t flag, uint64_t need, uint32_t factor, uint32_t minimum)
{
	uint32_t size = minimum;

	if (flag)
		return flag;
	while (size < need * factor && size < 1U << 26)
		size *= 2;
	return size;
}

static void sizes_set(const struct agent_options *options, const struct needs *needs,
		      struct datapath_sizes *ret_sizes)
{
	uint32_t services = size_of(options->services_max, needs->services, 2, SERVICES_DEFAULT);
	/* Each service port has at least one frontend. */
	uint32_t frontends = size_of(options->frontends_max, needs->frontends, 2, services);
	uint32_t backends = size_of(options->backends_max, needs->backends, 2, BACKENDS_DEFAULT);

	*ret_sizes = (struct datapath_sizes){
		.services = services,
		.frontends = frontends,
		/* Those of frontends, also where these do not fit; of backends; of the node. */
		.addresses = size_of(0, needs->frontends + needs->left_alone, 2, frontends) +
			     backends + NODE_ADDRESSES,
		.source_ranges = size_of(options->source_ranges_max, needs->source_ranges, 2,
					 SOURCE_RANGES_DEFAULT),
		/* A changed list and its predecessor coexist for a while. */
		.slots = size_of(options->slots_max, needs->slots, 3, SLOTS_DEFAULT),
		.backends = backends,
		.flows = options->flows_max ? options->flows_max * 2 : FLOWS_DEFAULT,
		.new_flows = NEW_FLOWS_DEFAULT,
		.affinity = size_of(options->affinity_max, 0, 1, AFFINITY_DEFAULT),
	};
}

void map_sizes_of_options(const struct agent_options *options, struct datapath_sizes *ret_sizes)
{
	const struct needs nothing = {};

	sizes_set(options, &nothing, ret_sizes);
}

bool map_sizes_fit(const struct datapath_sizes *needed, const struct datapath_sizes *present)
{
	return needed->services <= present->services && needed->slots <= present->slots &&
	       needed->frontends <= present->frontends && needed->addresses <= present->addresses &&
	       needed->source_ranges <= present->source_ranges &&
	       needed->backends <= present->backends && needed->flows <= present->flows &&
	       needed->affinity <= present->affinity;
}

int map_sizes_of_model(struct model *model, const struct agent_options *options,
		       const struct plan_inputs *plan_inputs, struct datapath_sizes *ret_sizes)
{
	struct needs needs = {
		.model = model,
		.context = {.node_name = options->node_name,
			    .link_with_address = link_with_no_address},
	};
	int err;

	plan_inputs_context(plan_inputs, &needs.context);
	/* Count the endpoints of all zones: a change of the zone must not fill the maps. */
	needs.context.zone = NULL;
	/*
	 * Do not drain the queue here: dirty Services must be published in the order in which they
	 * arrived.
	 */
	err = model_each(model, OBJECT_SERVICE, needs_of_service, &needs);
	model_mark_all_dirty(model);
	if (err)
		return err;
	sizes_set(options, &needs, ret_sizes);
	return 0;
}
