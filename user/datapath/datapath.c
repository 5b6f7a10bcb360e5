/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "datapath/flow_transfer.h"
#include "datapath/grace.h"
#include "datapath/grow.h"
#include "datapath/load_error.h"
#include "datapath/map_fds.h"
#include "datapath/pin_dir.h"
#include "datapath/pinned_maps.h"
#include "fairlead/agent.h"
#include "fairlead/limits.h"
#include "link/hooks/cgroup.h"
#include "link/link_watch.h"
#include "publish/publisher.h"
#include "skeleton/socket.skel.h"
#include "skeleton/sweep.skel.h"
#include "skeleton/tc.skel.h"
#include "skeleton/xdp.skel.h"

struct datapath {
	struct pinned_maps pinned;
	int lock_fd;
	struct tc_bpf *tc; /* this and the next only until all is loaded */
	struct socket_bpf *socket;
	struct flow_transfer *transfer; /* from datapath_hold_flows to datapath_release_flows */
	uint64_t held_ns;               /* when that began */
	int sweep_program; /* starts the timer that ends flows; -1: not loaded, or no timer */
	struct config config;
	struct map_fds maps;
	/* For links with a link-layer header, and without; -1: not loaded. */
	struct link_programs link_programs[2];
	int xdp_program; /* -1: not loaded */
	bool takes_split_frames;
	struct cgroup_program socket_programs[SOCKET_PROGRAM_COUNT];
	bool with_tc;
	bool wants_bind, has_bind; /* programs that stop processes from binding NodePorts */
};

static int maps_resize(const struct datapath_options *options, struct bpf_object *object)
{
	const struct datapath_sizes *sizes = &options->sizes;
	/* 0: as the programs' source says. */
	const uint32_t entries[MAP_COUNT] = {
		[MAP_FRONTENDS] = sizes->frontends,
		[MAP_SOURCE_RANGES] = sizes->source_ranges,
		[MAP_ADDRESSES] = sizes->addresses,
		[MAP_ADDRESS_FLOWS] = sizes->addresses,
		[MAP_SERVICES] = sizes->services,
		[MAP_SERVICE_NAMES] = sizes->services,
		[MAP_SERVICE_STATS] = sizes->services,
		[MAP_SLOTS] = sizes->slots,
		[MAP_BACKENDS] = sizes->backends,
		[MAP_AFFINITY] = sizes->affinity,
		[MAP_FLOWS] = sizes->flows,
		[MAP_FLOW_CHECKS] = FLOW_CHECKS(sizes->flows),
		[MAP_NEW_FLOWS] = sizes->new_flows,
		[MAP_FRAGMENTS] = FRAGMENTS_DEFAULT,
		[MAP_OWN_REPLIES] = OWN_REPLIES_MAX,
	};

	for (int id = 0; id < MAP_COUNT; id++) {
		const bool is_unused = map_table[id].traits & MAP_IS_OF_TC && !options->with_tc;
		struct bpf_map *map =
			entries[id] ? bpf_object__find_map_by_name(object, map_table[id].name)
				    : NULL;

		if (map && bpf_map__set_max_entries(map, is_unused ? map_entries_without_tc(id)
								   : entries[id]))
			return -errno;
	}
	return 0;
}

/* Selects which TC programs to load: those for links without a link-layer header, or the others. */
static void layer3_choose(struct tc_bpf *tc, bool is_layer3)
{
	(void)bpf_program__set_autoload(tc->progs.fl_ingress, !is_layer3);
	(void)bpf_program__set_autoload(tc->progs.fl_egress, !is_layer3);
	(void)bpf_program__set_autoload(tc->progs.fl_ingress_l3, is_layer3);
	(void)bpf_program__set_autoload(tc->progs.fl_egress_l3, is_layer3);
}

static int tc_load_once(struct datapath *datapath, const struct datapath_options *options)
{
	int err;

	load_error_reset();
	datapath->tc = tc_bpf__open();
	if (!datapath->tc)
		return log_err(-errno, "cannot open the TC programs");
	layer3_choose(datapath->tc, false);
	err = maps_resize(options, datapath->tc->obj);
	if (err)
		return err;
	err = pinned_maps_adopt(&datapath->pinned, datapath->tc->obj);
	if (err)
		return err;
	/* An adopted map keeps the size it was created with. */
	datapath->config.flow_checks_max =
		bpf_map__max_entries(datapath->tc->maps.flow_checks) - FLOW_CHECKS_SPARE;
	datapath->tc->rodata->config = datapath->config;
	return tc_bpf__load(datapath->tc);
}

/*
 * Loads the TC programs, whose object has all maps but those of the sockets. What the kernel lacks
 * is found by loading the real programs: a second attempt does without the helpers of 5.12.
 */
static int tc_load(struct datapath *datapath, const struct datapath_options *options)
{
	int err = tc_load_once(datapath, options);

	if (err && err != -EPROTO && err != -EPERM) {
		pinned_maps_forget(&datapath->pinned);
		tc_bpf__destroy(take_ptr(datapath->tc));
		datapath->config.has_helpers_5_12 = 0;
		err = tc_load_once(datapath, options);
	}
	return err && err != -EPROTO ? load_error_log(err, "the TC programs") : err;
}

static void cleanup_sweep(struct sweep_bpf **sweep)
{
	sweep_bpf__destroy(*sweep);
}

static int program_keep(const struct bpf_program *program, int *ret_fd)
{
	int kept = fd_duplicate(bpf_program__fd(program));

	if (kept < 0)
		return kept;
	*ret_fd = kept;
	return 0;
}

/*
 * Loads the program that starts the timer. A kernel without timers (before 5.15) refuses it; then
 * each flow that is confirmed checks others for expiry. Returns 0 or a negative errno. Silent.
 */
static int sweep_load(struct datapath *datapath)
{
	auto_cleanup(cleanup_sweep) struct sweep_bpf *sweep = sweep_bpf__open();
	int err;

	if (!sweep)
		return -errno;
	sweep->rodata->config = datapath->config;
	err = map_fds_reuse(&datapath->maps, sweep->obj);
	if (err)
		return err;
	err = sweep_bpf__load(sweep);
	if (err)
		return err;
	return program_keep(sweep->progs.fl_sweep_start, &datapath->sweep_program);
}

/* Starts the timer; if it runs already, makes it continue with the programs of this load. */
static void sweep_start(struct datapath *datapath)
{
	__u8 frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame));
	int err;

	if (datapath->sweep_program < 0)
		return;
	err = bpf_prog_test_run_opts(datapath->sweep_program, &run);
	if (!err && run.retval)
		err = (int)run.retval;
	if (!err)
		return;
	log_warning("the kernel does not start the timer that ends flows (%s): flows that are "
		    "confirmed end others",
		    strerror(-err));
	(void)close(take_fd(datapath->sweep_program));
}

static int socket_load_once(struct datapath *datapath)
{
	struct bpf_map *map, *shared;
	int err;

	load_error_reset();
	datapath->socket = socket_bpf__open();
	if (!datapath->socket)
		return log_err(-errno, "cannot open the socket programs");
	datapath->socket->rodata->config = datapath->config;
	(void)bpf_program__set_autoload(datapath->socket->progs.fl_bind4, datapath->has_bind);
	(void)bpf_program__set_autoload(datapath->socket->progs.fl_bind6, datapath->has_bind);
	bpf_object__for_each_map (map, datapath->socket->obj) {
		if (bpf_map__is_internal(map))
			continue;
		shared = bpf_object__find_map_by_name(datapath->tc->obj, bpf_map__name(map));
		err = shared ? bpf_map__reuse_fd(map, bpf_map__fd(shared))
			     : pinned_map_adopt(&datapath->pinned, map);
		if (err)
			return err;
	}
	return socket_bpf__load(datapath->socket);
}

/*
 * Loads the socket programs; retries without bpf_set_retval (before 5.18), then without the bind
 * hooks.
 */
static int socket_load(struct datapath *datapath)
{
	int err = socket_load_once(datapath);

	if (err && err != -EPROTO && datapath->config.has_retval) {
		socket_bpf__destroy(take_ptr(datapath->socket));
		datapath->config.has_retval = 0;
		err = socket_load_once(datapath);
	}
	if (err && err != -EPROTO && datapath->has_bind) {
		socket_bpf__destroy(take_ptr(datapath->socket));
		datapath->has_bind = false;
		err = socket_load_once(datapath);
	}
	return err && err != -EPROTO ? load_error_log(err, "the socket programs") : err;
}

/*
 * Loads all programs and logs how long that took: it is mostly the verifier, and most of a start.
 */
static int programs_load(struct datapath *datapath, const struct datapath_options *options)
{
	uint64_t begun_ns = clock_now_ns();
	int err = tc_load(datapath, options);

	if (err)
		return err;
	err = socket_load(datapath);
	if (err)
		return err;
	log_debug("the programs are loaded, in %llu ms",
		  (unsigned long long)((clock_now_ns() - begun_ns) / NS_PER_MS));
	return 0;
}

static size_t socket_program_count(const struct datapath *datapath)
{
	return SOCKET_PROGRAM_COUNT - (datapath->has_bind ? 0 : BIND_PROGRAM_COUNT);
}

static int socket_programs_keep(struct datapath *datapath)
{
	const struct socket_bpf *socket = datapath->socket;
	const struct {
		const struct bpf_program *program;
		enum bpf_attach_type type;
		const char *name;
	} hooks[SOCKET_PROGRAM_COUNT] = {
		/*
		 * In attach order: the programs that name the senders of replies come before those
		 * that cause replies, so that no reply meets only half of them.
		 */
		{socket->progs.fl_recvmsg4, BPF_CGROUP_UDP4_RECVMSG, "recvmsg4"},
		{socket->progs.fl_recvmsg6, BPF_CGROUP_UDP6_RECVMSG, "recvmsg6"},
		{socket->progs.fl_getpeername4, BPF_CGROUP_INET4_GETPEERNAME, "getpeername4"},
		{socket->progs.fl_getpeername6, BPF_CGROUP_INET6_GETPEERNAME, "getpeername6"},
		{socket->progs.fl_sendmsg4, BPF_CGROUP_UDP4_SENDMSG, "sendmsg4"},
		{socket->progs.fl_sendmsg6, BPF_CGROUP_UDP6_SENDMSG, "sendmsg6"},
		{socket->progs.fl_connect4, BPF_CGROUP_INET4_CONNECT, "connect4"},
		{socket->progs.fl_connect6, BPF_CGROUP_INET6_CONNECT, "connect6"},
		{socket->progs.fl_bind4, BPF_CGROUP_INET4_BIND, "bind4"},
		{socket->progs.fl_bind6, BPF_CGROUP_INET6_BIND, "bind6"},
	};
	int err;

	for (size_t i = 0; i < socket_program_count(datapath); i++) {
		struct cgroup_program *kept = &datapath->socket_programs[i];

		kept->type = hooks[i].type;
		kept->name = hooks[i].name;
		err = program_keep(hooks[i].program, &kept->fd);
		if (err)
			return err;
	}
	return 0;
}

static int link_programs_keep(const struct bpf_program *ingress, const struct bpf_program *egress,
			      struct link_programs *ret_programs)
{
	int err = program_keep(ingress, &ret_programs->ingress);

	return err ? err : program_keep(egress, &ret_programs->egress);
}

/* Keeps the descriptors of maps and programs: their objects are closed then. Silent. */
static int descriptors_keep(struct datapath *datapath)
{
	int err = map_fds_add(&datapath->maps, datapath->tc->obj);

	if (err)
		return err;
	err = map_fds_add(&datapath->maps, datapath->socket->obj);
	if (err)
		return err;
	err = link_programs_keep(datapath->tc->progs.fl_ingress, datapath->tc->progs.fl_egress,
				 &datapath->link_programs[false]);
	if (err)
		return err;
	return socket_programs_keep(datapath);
}

static void objects_close(struct datapath *datapath)
{
	socket_bpf__destroy(take_ptr(datapath->socket));
	tc_bpf__destroy(take_ptr(datapath->tc));
}

static void cleanup_tc(struct tc_bpf **tc)
{
	tc_bpf__destroy(*tc);
}

/* Loads the programs for links without a link-layer header, on the maps of the others. */
static int layer3_load(struct datapath *datapath, struct link_programs *ret_programs)
{
	auto_cleanup(cleanup_tc) struct tc_bpf *tc = NULL;
	int err;

	load_error_reset();
	tc = tc_bpf__open();
	if (!tc)
		return log_err(-errno, "cannot open the TC programs");
	tc->rodata->config = datapath->config;
	layer3_choose(tc, true);
	err = map_fds_reuse(&datapath->maps, tc->obj);
	if (!err)
		err = tc_bpf__load(tc);
	if (err)
		return load_error_log(err, "the TC programs for links without a link-layer header");
	return link_programs_keep(tc->progs.fl_ingress_l3, tc->progs.fl_egress_l3, ret_programs);
}

static void cleanup_xdp(struct xdp_bpf **xdp)
{
	xdp_bpf__destroy(*xdp);
}

/* With `takes_split`, drivers may deliver frames that are spread over several buffers. */
static int xdp_load_once(const struct datapath *datapath, bool takes_split, int *ret_program)
{
	auto_cleanup(cleanup_xdp) struct xdp_bpf *xdp = NULL;
	int err;

	load_error_reset();
	xdp = xdp_bpf__open();
	if (!xdp)
		return -errno;
	xdp->rodata->config = datapath->config;
	xdp->rodata->frames_may_be_split = takes_split;
	if (takes_split)
		(void)bpf_program__set_flags(xdp->progs.fl_xdp, BPF_F_XDP_HAS_FRAGS);
	err = map_fds_reuse(&datapath->maps, xdp->obj);
	if (err)
		return err;
	err = xdp_bpf__load(xdp);
	if (err)
		return err;
	return program_keep(xdp->progs.fl_xdp, ret_program);
}

static void datapath_freep(struct datapath **datapath)
{
	datapath_close(*datapath);
}

static struct datapath *datapath_new(const struct datapath_options *options)
{
	struct datapath *datapath = calloc(1, sizeof(*datapath));

	if (!datapath)
		return NULL;
	datapath->lock_fd = -1;
	datapath->sweep_program = -1;
	datapath->xdp_program = -1;
	memset(datapath->link_programs, -1, sizeof(datapath->link_programs));
	for (size_t i = 0; i < SOCKET_PROGRAM_COUNT; i++)
		datapath->socket_programs[i].fd = -1;
	map_fds_init(&datapath->maps);
	datapath->takes_split_frames = options->xdp_takes_split_frames;
	datapath->config = options->config;
	datapath->with_tc = options->with_tc;
	datapath->wants_bind = datapath->has_bind = options->bind_protection;
	return datapath;
}

/* Makes the pin directory ours for as long as this datapath is open. */
static int pin_dir_claim(struct datapath *datapath, const char *pin_dir)
{
	int err = pin_dir_make(pin_dir);

	if (err)
		return err;
	datapath->lock_fd = pin_dir_lock(pin_dir);
	if (datapath->lock_fd == -EBUSY) {
		log_error(
			"another agent uses the pins in %s: stop it, or give this one its own --pin-dir",
			pin_dir);
		return -EBUSY;
	}
	return datapath->lock_fd < 0 ? log_err(datapath->lock_fd, "cannot lock %s", pin_dir) : 0;
}

int datapath_open(const struct datapath_options *options, struct datapath **ret_datapath)
{
	auto_cleanup(datapath_freep) struct datapath *datapath = datapath_new(options);
	int err;

	if (!datapath)
		return log_err(-ENOMEM, "cannot allocate the datapath");
	err = pinned_maps_init(&datapath->pinned, options->pin_dir);
	if (err)
		return log_err(err, "the pin directory's name is too long");
	(void)libbpf_set_print(load_error_keep);
	err = pin_dir_claim(datapath, options->pin_dir);
	if (err)
		return err;
	err = programs_load(datapath, options);
	if (err)
		return err;
	err = descriptors_keep(datapath);
	if (err)
		return log_err(err, "cannot keep the descriptors of the datapath");
	objects_close(datapath);
	err = pinned_maps_copy(&datapath->pinned, &datapath->maps);
	if (err)
		return err;
	err = pinned_maps_add(&datapath->pinned, &datapath->maps);
	if (err < 0)
		return log_err(err, "cannot pin the maps in %s", options->pin_dir);
	if (options->with_tc && sweep_load(datapath))
		log_debug("the kernel does not take the program with a timer (%s)",
			  load_error_text());
	*ret_datapath = take_ptr(datapath);
	return 0;
}

/* Releases what an agent held that has ended. Which flows opened since, nobody has counted. */
static int flows_recover(struct datapath *datapath)
{
	const struct pinned_maps *pinned = &datapath->pinned;
	int err = grow_expect_flows(datapath_map(datapath, MAP_ADDRESS_FLOWS),
				    datapath_map_entries(datapath, MAP_ADDRESS_FLOWS));

	if (err)
		return log_err(err, "cannot mark the addresses that may have flows");
	/* Hooks have programs of both generations: the flows are held until none has. */
	if (pinned->is_interrupted) {
		log_info("an earlier agent ended while the map flows grew: it goes on to %u "
			 "entries",
			 datapath_map_entries(datapath, MAP_FLOWS));
		return 0;
	}
	err = flow_transfer_release(datapath->transfer);
	if (err)
		return log_err(err, "cannot release the flows that an earlier agent held");
	log_info("an earlier agent ended while it held the flows: they are released");
	return pinned_flows_mark_released(pinned);
}

/* Gives the flows up again: they stay in the tables of before, which all hooks use. */
static void flows_let_go(const struct datapath *datapath)
{
	if (!flow_transfer_release(datapath->transfer))
		(void)pinned_flows_mark_released(&datapath->pinned);
}

/* Holds the flows, and copies them into larger tables unless an earlier agent has done so. */
static int flows_hold(struct datapath *datapath)
{
	const struct pinned_maps *pinned = &datapath->pinned;
	const bool was_held = pinned_flows_are_held(pinned);
	int err = pinned_flows_mark_held(pinned, &datapath->maps);

	if (err)
		return err;
	datapath->held_ns = clock_now_ns();
	err = was_held ? 0 : flow_transfer_hold(datapath->transfer);
	if (err) {
		(void)pinned_flows_mark_released(pinned);
		return log_err(err,
			       "cannot hold the flows while larger maps take their place, to be "
			       "tried again later");
	}
	if (!pinned->outgrew_flows)
		return 0;
	err = flow_transfer_copy(datapath->transfer);
	if (err)
		(void)log_err(err, "cannot copy the map flows into a new one");
	else
		err = pinned_flows_announce(pinned, &datapath->maps);
	if (err)
		flows_let_go(datapath);
	return err;
}

int datapath_hold_flows(struct datapath *datapath)
{
	const struct pinned_maps *pinned = &datapath->pinned;
	const struct flow_tables before = {
		.flows = pinned->outgrown_fds[MAP_FLOWS],
		.sweeper = pinned->outgrown_fds[MAP_FLOW_SWEEPER],
	};
	const bool replaces = pinned->outgrew_flows || pinned->is_interrupted ||
			      (datapath->with_tc && pinned->outgrown_fds[MAP_ADDRESS_FLOWS] >= 0);
	int err;

	if (!replaces && !pinned_flows_are_held(pinned))
		return 0;
	load_error_reset();
	err = flow_transfer_open(&datapath->maps, before, &datapath->transfer);
	if (err)
		return load_error_log(err, "the programs that hold the flows");
	if (pinned_flows_are_held(pinned))
		err = flows_recover(datapath);
	if (!err && replaces)
		err = flows_hold(datapath);
	if (err || !replaces)
		flow_transfer_close(take_ptr(datapath->transfer));
	return err;
}

/* No hook has programs of before any more: brings what they wrote last into the larger tables. */
static int flows_merge(struct datapath *datapath)
{
	const struct pinned_maps *pinned = &datapath->pinned;
	const int counts = pinned->outgrown_fds[MAP_ADDRESS_FLOWS];
	int err = flow_transfer_stop_sweeper(datapath->transfer);

	if (err)
		return log_err(err, "cannot stop the timer of the smaller map flows");
	/* Before the wait: then no program counts in the smaller map `address_flows` after it. */
	sweep_start(datapath);
	grace_wait_or_guess();
	if (pinned->outgrown_fds[MAP_FLOWS] >= 0)
		err = flow_transfer_merge(datapath->transfer);
	if (err)
		return log_err(err, "cannot add to the larger map flows what was written last");
	if (counts >= 0)
		err = grow_catch_up(MAP_ADDRESS_FLOWS, counts,
				    datapath_map(datapath, MAP_ADDRESS_FLOWS));
	return err ? log_err(err, "cannot add to the larger map address_flows what was counted "
				  "last")
		   : pinned_flows_commit(&datapath->pinned, &datapath->maps);
}

int datapath_release_flows(struct datapath *datapath)
{
	int err;

	if (!datapath->transfer)
		return 0;
	err = flows_merge(datapath);
	if (!err) {
		err = flow_transfer_release(datapath->transfer);
		if (err)
			(void)log_err(err, "cannot release the flows");
	}
	if (!err)
		err = pinned_flows_mark_released(&datapath->pinned);
	flow_transfer_close(take_ptr(datapath->transfer));
	log_debug("flows were held for %llu ms",
		  (unsigned long long)((clock_now_ns() - datapath->held_ns) / NS_PER_MS));
	return err;
}

int datapath_commit(struct datapath *datapath)
{
	int err = pinned_maps_commit(&datapath->pinned, &datapath->maps);

	if (err)
		return err;
	sweep_start(datapath);
	return 0;
}

bool datapath_is_pinned(const char *pin_dir)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/services", pin_dir) < (int)sizeof(path) &&
	       !access(path, F_OK);
}

int datapath_restore_pins(struct datapath *datapath)
{
	const bool is_moved = !pin_dir_is(datapath->pinned.pin_dir, datapath->lock_fd);
	int err = is_moved ? pin_dir_move(&datapath->lock_fd, datapath->pinned.pin_dir) : 0;

	if (err)
		return err;
	/* Any of them may have been removed, before a move too. */
	err = pinned_maps_add(&datapath->pinned, &datapath->maps);
	return err < 0 ? err : is_moved || err > 0;
}

static void programs_close(const struct datapath *datapath)
{
	for (size_t i = 0; i < 2; i++) {
		cleanup_fd(&datapath->link_programs[i].ingress);
		cleanup_fd(&datapath->link_programs[i].egress);
	}
	cleanup_fd(&datapath->xdp_program);
	cleanup_fd(&datapath->sweep_program);
	for (size_t i = 0; i < SOCKET_PROGRAM_COUNT; i++)
		cleanup_fd(&datapath->socket_programs[i].fd);
}

void datapath_close(struct datapath *datapath)
{
	if (!datapath)
		return;
	flow_transfer_close(datapath->transfer);
	pinned_maps_forget(&datapath->pinned);
	objects_close(datapath);
	programs_close(datapath);
	map_fds_close(&datapath->maps);
	cleanup_fd(&datapath->lock_fd);
	free(datapath);
}

int datapath_link_programs(struct datapath *datapath, bool is_layer3,
			   struct link_programs *ret_programs)
{
	struct link_programs *programs = &datapath->link_programs[is_layer3];
	int err = programs->egress < 0 ? layer3_load(datapath, programs) : 0;

	*ret_programs = *programs;
	return err;
}

int datapath_xdp_program(struct datapath *datapath, int *ret_program)
{
	int err = -EOPNOTSUPP;

	*ret_program = datapath->xdp_program;
	if (datapath->xdp_program >= 0)
		return 0;
	if (datapath->takes_split_frames)
		err = xdp_load_once(datapath, true, &datapath->xdp_program);
	if (err)
		err = xdp_load_once(datapath, false, &datapath->xdp_program);
	if (err)
		log_warning("the kernel does not take the XDP program (%s: %s), TC does its work",
			    strerror(-err), load_error_text());
	*ret_program = datapath->xdp_program;
	return err;
}

size_t datapath_socket_programs(const struct datapath *datapath,
				struct cgroup_program *ret_programs)
{
	memcpy(ret_programs, datapath->socket_programs, sizeof(datapath->socket_programs));
	return socket_program_count(datapath);
}

struct publisher_maps datapath_publisher_maps(const struct datapath *datapath)
{
	const uint32_t addresses = datapath_map_entries(datapath, MAP_ADDRESSES);
	const uint32_t address_flows = datapath_map_entries(datapath, MAP_ADDRESS_FLOWS);

	return (struct publisher_maps){
		.frontends = datapath_map(datapath, MAP_FRONTENDS),
		.addresses = datapath_map(datapath, MAP_ADDRESSES),
		.address_flows = datapath_map(datapath, MAP_ADDRESS_FLOWS),
		.services = datapath_map(datapath, MAP_SERVICES),
		.slots = datapath_map(datapath, MAP_SLOTS),
		.backends = datapath_map(datapath, MAP_BACKENDS),
		.service_names = datapath_map(datapath, MAP_SERVICE_NAMES),
		.service_stats = datapath_map(datapath, MAP_SERVICE_STATS),
		.unprogrammed = datapath_map(datapath, MAP_UNPROGRAMMED),
		.source_ranges = datapath_map(datapath, MAP_SOURCE_RANGES),
		.flows = datapath_map(datapath, MAP_FLOWS),
		.node_ports = datapath_map(datapath, MAP_NODE_PORTS),
		.far_backends = datapath_map(datapath, MAP_FAR_BACKENDS),
		.services_max = datapath_map_entries(datapath, MAP_SERVICES),
		.slots_max = datapath_map_entries(datapath, MAP_SLOTS),
		.backends_max = datapath_map_entries(datapath, MAP_BACKENDS),
		.frontends_max = datapath_map_entries(datapath, MAP_FRONTENDS),
		.addresses_max = addresses < address_flows ? addresses : address_flows,
	};
}

int datapath_map(const struct datapath *datapath, enum map_id id)
{
	return datapath->maps.maps[id].fd;
}

uint32_t datapath_map_entries(const struct datapath *datapath, enum map_id id)
{
	return datapath->maps.maps[id].entries;
}

uint32_t datapath_degraded(const struct datapath *datapath)
{
	uint32_t degraded = 0;

	if (datapath->with_tc && datapath->sweep_program < 0)
		degraded |= DEGRADED_NO_TIMER;
	if (datapath->with_tc && !datapath->config.has_helpers_5_12)
		degraded |= DEGRADED_NO_MTU;
	if (!datapath->config.has_retval)
		degraded |= DEGRADED_NO_RETVAL;
	if (datapath->wants_bind && !datapath->has_bind)
		degraded |= DEGRADED_NO_BIND_HOOKS;
	return degraded;
}
