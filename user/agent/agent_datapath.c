/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The lifetime of the datapath in an agent: at the start the agent adopts what an earlier run left,
 * and once the source is complete it replaces that if it is too small. Ending changes nothing in
 * the kernel.
 */

#include "agent/agent_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bind_watch.h"
#include "datapath/datapath.h"
#include "agent/socket_reconnect.h"
#include "agent/exhausted.h"
#include "datapath/host_ports.h"
#include "agent/stale_sockets.h"
#include "agent/near_clients.h"
#include "agent/observe.h"
#include "agent/map_sizes.h"
#include "base/cleanup.h"
#include "link/hooks/cgroup.h"
#include "link/link_watch.h"
#include "base/log.h"
#include "publish/publish.h"

int agent_choose_cgroup(struct agent *agent)
{
	if (!agent->options.with_socket)
		return 0;
	agent->cgroup = agent->options.cgroup ? strdup(agent->options.cgroup) : cgroup_find_root();
	if (agent->cgroup)
		return cgroup_check(agent->cgroup);
	(void)log_err(0, "no cgroup v2 is mounted: mount one, name it with --cgroup, or do without "
			 "the socket hooks (--hooks tc)");
	return -ENOENT;
}

static int programs_of_links(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	const struct agent *agent = context;

	return datapath_link_programs(agent->datapath, is_layer3, ret_programs);
}

static int xdp_program(int *ret_program, void *context)
{
	const struct agent *agent = context;

	return datapath_xdp_program(agent->datapath, ret_program);
}

static void links_changed(void *context)
{
	struct agent *agent = context;

	if (agent->publisher)
		agent_status_write(agent);
}

static int hooks_open(struct agent *agent)
{
	const struct link_options options = {
		.overrides = agent->options.links,
		.near = near_links_of(&agent->options.traffic),
		.programs = programs_of_links,
		.xdp_program = xdp_program,
		.programs_context = agent,
		.pin_dir = agent->options.pin_dir,
		.links_map = datapath_map(agent->datapath, "links"),
		.sources_map = datapath_map(agent->datapath, "link_sources"),
		.targets_map = datapath_map(agent->datapath, "redirect_targets"),
		.xdp_links_map = datapath_map(agent->datapath, "xdp_links"),
		.xdp_mode = agent->options.xdp_mode,
		.attach = agent->options.with_tc,
		.force_clsact = agent->options.force_clsact,
	};
	const struct link_events events = {
		.addresses_changed = agent_addresses_changed,
		.links_changed = links_changed,
		.context = agent,
	};

	return link_watch_open(&agent->loop, &options, &events, &agent->links);
}

static int socket_hooks_attach(struct agent *agent)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];
	size_t count;

	if (!agent->options.with_socket)
		return cgroup_detach_all(agent->options.pin_dir);
	count = datapath_socket_programs(agent->datapath, programs);
	return cgroup_attach(agent->cgroup, agent->options.pin_dir, programs, count);
}

/*
 * Hooks miss two changes of connected UDP sockets, which send without them: the loss of the
 * backend, and a new Service at the address of the peer. Watch for both.
 */
static int sockets_begin(struct agent *agent)
{
	const struct early_sockets_options early = {
		.frontends_map = datapath_map(agent->datapath, "frontends"),
		.addresses_map = datapath_map(agent->datapath, "addresses"),
		.with_tc = agent->options.with_tc,
	};
	int err = stale_sockets_new(&agent->loop, datapath_map(agent->datapath, "socket_state"),
				    agent->publisher, &agent->stale_sockets);

	if (!err && agent->options.with_socket)
		err = socket_reconnect_new(&agent->loop, &early, agent->publisher,
					   &agent->socket_reconnect);
	return err ? log_err(err, "cannot look after sockets") : 0;
}

/* Reads what an earlier run left in the maps, so that later publishes update it. */
static int publisher_begin(struct agent *agent)
{
	const struct publish_maps maps = datapath_publish_maps(agent->datapath);
	const struct ip_addr *addrs;
	size_t count;
	int err;

	/* Pinned maps may be larger than requested. */
	agent->sizes.services = maps.services_max;
	agent->sizes.frontends = datapath_map_entries(agent->datapath, "frontends");
	agent->sizes.source_ranges = datapath_map_entries(agent->datapath, "source_ranges");
	agent->sizes.slots = maps.slots_max;
	agent->sizes.backends = maps.backends_max;
	err = publisher_open(&maps, &agent->publisher);
	if (err)
		return err;
	err = sockets_begin(agent);
	if (err)
		return err;
	addrs = link_watch_addresses(agent->links, &count);
	err = publisher_set_node_addresses(agent->publisher, addrs, count);
	return err ? log_err(err, "cannot record the node's addresses") : 0;
}

/* Loads the programs and hooks the links; agent_datapath_finish() adds the socket hooks. */
static int datapath_begin(struct agent *agent)
{
	struct datapath_options options = {
		.pin_dir = agent->options.pin_dir,
		.sizes = agent->sizes,
		.config = agent->options.config,
		.with_tc = agent->options.with_tc,
		.bind_protection = agent->options.bind_protection,
		.xdp_takes_split_frames = agent->options.xdp_mode != XDP_MODE_GENERIC,
	};
	int err;

	host_ports_set(&options.config);
	err = datapath_open(&options, &agent->datapath);
	if (err)
		return err;
	if (agent->options.with_tc)
		err = exhausted_watch_open(&agent->loop, datapath_map(agent->datapath, "exhausted"),
					   datapath_map(agent->datapath, "service_names"),
					   &agent->exhausted_watch);
	if (err)
		return err;
	if (agent->options.with_socket && agent->options.bind_protection)
		err = bind_watch_open(&agent->loop, datapath_map(agent->datapath, "bind_attempts"),
				      datapath_map(agent->datapath, "service_names"),
				      &agent->bind_watch);
	if (err)
		return err;
	/* Overwrite the status that an earlier agent left: this one is not synced yet. */
	agent_status_store(agent);
	err = hooks_open(agent);
	return err ? err : publisher_begin(agent);
}

int agent_datapath_finish(struct agent *agent)
{
	int err = socket_hooks_attach(agent);

	if (err)
		return err;
	agent->are_sockets_hooked = true;
	observe_hooked(agent->observe);
	return datapath_commit(agent->datapath);
}

void agent_datapath_end(struct agent *agent)
{
	agent->are_sockets_hooked = false;
	stale_sockets_abort_all(agent->stale_sockets);
	stale_sockets_close(take_ptr(agent->stale_sockets));
	socket_reconnect_close(take_ptr(agent->socket_reconnect));
	bind_watch_close(take_ptr(agent->bind_watch));
	exhausted_watch_close(take_ptr(agent->exhausted_watch));
	link_watch_close(take_ptr(agent->links));
	publisher_close(take_ptr(agent->publisher));
	datapath_close(take_ptr(agent->datapath));
}

int agent_datapath_take_up(struct agent *agent)
{
	int err;

	if (!datapath_is_pinned(agent->options.pin_dir))
		return 0;
	sizes_of_options(&agent->options, &agent->sizes);
	err = datapath_begin(agent);
	if (!err)
		err = agent_datapath_finish(agent);
	if (!err)
		log_info("what an earlier agent has programmed stays in use until the source is "
			 "complete");
	return err;
}

int agent_datapath_prepare(struct agent *agent, bool *ret_begun)
{
	struct datapath_sizes sizes;
	int err;

	*ret_begun = false;
	agent_look_around(agent);
	err = sizes_of_model(agent->model, &agent->options, &agent->plan_inputs, &sizes);
	if (err)
		return log_err(err, "cannot size the maps");
	if (agent->datapath && sizes_fit(&sizes, &agent->sizes))
		return 0;
	agent_datapath_end(agent);
	agent->sizes = sizes;
	*ret_begun = true;
	return datapath_begin(agent);
}
