/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/plane.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "agent/exhausted_ports.h"
#include "agent/refused_binds.h"
#include "agent/socket_reconnect.h"
#include "agent/stale_sockets.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "agent/near_clients.h"
#include "datapath/local_port_range.h"
#include "link/hooks/cgroup.h"
#include "publish/publisher.h"

static int plane_link_programs(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	const struct plane *plane = context;

	return datapath_link_programs(plane->datapath, is_layer3, ret_programs);
}

static int plane_xdp_program(int *ret_program, void *context)
{
	const struct plane *plane = context;

	return datapath_xdp_program(plane->datapath, ret_program);
}

static int links_open(struct plane *plane, uv_loop_t *loop, const struct plane_options *options)
{
	const struct agent_options *agent = options->agent;
	const struct link_options link_options = {
		.overrides = agent->links,
		.near = near_links_of(&agent->traffic),
		.programs = plane_link_programs,
		.xdp_program = plane_xdp_program,
		.programs_context = plane,
		.pin_dir = agent->pin_dir,
		.links_map = datapath_map(plane->datapath, MAP_LINKS),
		.sources_map = datapath_map(plane->datapath, MAP_LINK_SOURCES),
		.targets_map = datapath_map(plane->datapath, MAP_REDIRECT_TARGETS),
		.xdp_links_map = datapath_map(plane->datapath, MAP_XDP_LINKS),
		.xdp_mode = agent->xdp_mode,
		.attach = agent->with_tc,
		.force_clsact = agent->force_clsact,
		.with_dsr = agent->config.forwarding != FORWARDING_SNAT,
	};

	return link_watch_open(loop, &link_options, &options->events, &plane->links);
}

/*
 * Has the hooks replaced. Between the first and the last, links have programs of both generations,
 * whose tables of flows may differ.
 */
static int links_begin(struct plane *plane)
{
	int err = datapath_hold_flows(plane->datapath);

	if (!err)
		err = link_watch_begin(plane->links);
	return err ? err : datapath_release_flows(plane->datapath);
}

/*
 * Hooks miss two changes of connected UDP sockets, which send without them: the loss of the
 * backend, and a new Service at the address of the peer. Watch for both.
 */
static int sockets_open(struct plane *plane, uv_loop_t *loop, const struct agent_options *agent)
{
	const struct early_sockets_options early = {
		.frontends_map = datapath_map(plane->datapath, MAP_FRONTENDS),
		.addresses_map = datapath_map(plane->datapath, MAP_ADDRESSES),
		.with_tc = agent->with_tc,
	};
	int err = stale_sockets_new(loop, datapath_map(plane->datapath, MAP_SOCKET_STATE),
				    plane->publisher, &plane->stale_sockets);

	if (err || !agent->with_socket)
		return err;
	return socket_reconnect_new(loop, &early, plane->publisher, &plane->socket_reconnect);
}

/* Watches for what programs report: flows without a source port, and binds that were refused. */
static int reports_open(struct plane *plane, uv_loop_t *loop, const struct agent_options *agent)
{
	const int service_names = datapath_map(plane->datapath, MAP_SERVICE_NAMES);
	int err;

	if (agent->with_tc) {
		err = exhausted_ports_open(loop, datapath_map(plane->datapath, MAP_EXHAUSTED),
					   service_names, &plane->exhausted_ports);
		if (err)
			return err;
	}
	if (!agent->with_socket || !agent->bind_protection)
		return 0;
	return refused_binds_open(loop, datapath_map(plane->datapath, MAP_BIND_ATTEMPTS),
				  service_names, &plane->refused_binds);
}

/* Reads what an earlier run left in the maps, so that later publishes update it. */
static int publisher_begin(struct plane *plane)
{
	const struct publisher_maps maps = datapath_publisher_maps(plane->datapath);

	/* Pinned maps may be larger than requested. */
	plane->sizes.services = maps.services_max;
	plane->sizes.frontends = datapath_map_entries(plane->datapath, MAP_FRONTENDS);
	plane->sizes.addresses = maps.addresses_max;
	plane->sizes.source_ranges = datapath_map_entries(plane->datapath, MAP_SOURCE_RANGES);
	plane->sizes.slots = maps.slots_max;
	plane->sizes.backends = maps.backends_max;
	plane->sizes.affinity = datapath_map_entries(plane->datapath, MAP_AFFINITY);
	/* Without the TC hooks there are no flows, and none is wanted. */
	if (plane->sizes.flows < datapath_map_entries(plane->datapath, MAP_FLOWS))
		plane->sizes.flows = datapath_map_entries(plane->datapath, MAP_FLOWS);
	return publisher_open(&maps, &plane->publisher);
}

static void plane_closep(struct plane **plane)
{
	plane_close(*plane);
}

static int programs_open(struct plane *plane, const struct agent_options *agent)
{
	struct datapath_options options = {
		.pin_dir = agent->pin_dir,
		.sizes = plane->sizes,
		.config = agent->config,
		.with_tc = agent->with_tc,
		.bind_protection = agent->bind_protection,
		.xdp_takes_split_frames = agent->xdp_mode != XDP_MODE_GENERIC,
	};

	local_port_range_configure(&options.config);
	return datapath_open(&options, &plane->datapath);
}

/* Pinned maps do not shrink. */
static void sizes_compare(const struct plane *plane, const struct agent_options *agent)
{
	const struct {
		const char *flag;
		uint32_t wanted; /* 0: the flag is not given, or has no meaning */
		enum map_id map;
		uint32_t entries; /* of the map, for each that is wanted */
	} sizes[] = {
		{"--max-services", agent->services_max, MAP_SERVICES, 1},
		{"--max-frontends", agent->frontends_max, MAP_FRONTENDS, 1},
		{"--max-source-ranges", agent->source_ranges_max, MAP_SOURCE_RANGES, 1},
		{"--max-slots", agent->slots_max, MAP_SLOTS, 1},
		{"--max-backends", agent->backends_max, MAP_BACKENDS, 1},
		{"--max-flows", agent->with_tc ? agent->flows_max : 0, MAP_FLOWS, 2},
		{"--max-affinity", agent->affinity_max, MAP_AFFINITY, 1},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const uint32_t room =
			datapath_map_entries(plane->datapath, sizes[i].map) / sizes[i].entries;

		if (!sizes[i].wanted || room == sizes[i].wanted)
			continue;
		log_warning("%s %u has no effect: the map %s of an earlier start is in use and "
			    "keeps its room for %u; `fairlead cleanup --pin-dir %s` before a start "
			    "makes way for a new one, and ends all flows",
			    sizes[i].flag, sizes[i].wanted, map_table[sizes[i].map].name, room,
			    agent->pin_dir);
	}
}

int plane_open(uv_loop_t *loop, const struct plane_options *options, struct plane **ret_plane)
{
	auto_cleanup(plane_closep) struct plane *plane = calloc(1, sizeof(*plane));
	const struct ip_addr *addrs;
	size_t count;
	int err;

	if (!plane)
		return log_err(-ENOMEM, "cannot allocate the datapath");
	plane->number = options->number;
	plane->sizes = options->sizes;
	err = programs_open(plane, options->agent);
	if (err)
		return err;
	sizes_compare(plane, options->agent);
	err = reports_open(plane, loop, options->agent);
	if (err)
		return err;
	/* This agent is not synced yet, whatever an earlier one wrote. */
	plane_write_status(plane, options->status);
	err = links_open(plane, loop, options);
	if (err)
		return err;
	err = links_begin(plane);
	if (err)
		return err;
	err = publisher_begin(plane);
	if (err)
		return err;
	err = sockets_open(plane, loop, options->agent);
	if (err)
		return log_err(err, "cannot watch UDP sockets");
	addrs = link_watch_addresses(plane->links, &count);
	err = publisher_write_node_addresses(plane->publisher, addrs, count);
	if (err)
		return err;
	*ret_plane = take_ptr(plane);
	return 0;
}

int plane_attach_sockets(struct plane *plane, const char *cgroup, const char *pin_dir)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];
	size_t count;
	int err;

	if (!cgroup)
		return cgroup_detach_all(pin_dir);
	count = datapath_socket_programs(plane->datapath, programs);
	err = cgroup_attach(cgroup, pin_dir, programs, count);
	plane->are_sockets_hooked = !err;
	return err;
}

void plane_write_status(const struct plane *plane, const struct agent_status *status)
{
	const __u32 zero = 0;

	if (bpf_map_update_elem(datapath_map(plane->datapath, MAP_AGENT_STATUS), &zero, status,
				BPF_ANY))
		(void)log_err(-errno, "cannot write the agent's status, continuing");
}

void plane_close(struct plane *plane)
{
	if (!plane)
		return;
	stale_sockets_abort_all(plane->stale_sockets);
	stale_sockets_close(plane->stale_sockets);
	socket_reconnect_close(plane->socket_reconnect);
	refused_binds_close(plane->refused_binds);
	exhausted_ports_close(plane->exhausted_ports);
	link_watch_close(plane->links);
	publisher_close(plane->publisher);
	datapath_close(plane->datapath);
	free(plane);
}
