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

#include "datapath/map_fds.h"
#include "datapath/pin_dir.h"
#include "datapath/pinned_maps.h"
#include "datapath/load_error.h"
#include "base/cleanup.h"
#include "fairlead/limits.h"
#include "base/log.h"
#include "skeleton/socket.skel.h"
#include "skeleton/sweep.skel.h"
#include "skeleton/tc.skel.h"
#include "skeleton/xdp.skel.h"

struct datapath {
	struct pinned_maps pinned;
	int lock_fd;
	struct tc_bpf *tc; /* this and the next only until all is loaded */
	struct socket_bpf *socket;
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

struct map_size {
	const char *name;
	uint32_t entries;
};

static int maps_resize(const struct datapath_options *options, struct bpf_object *object)
{
	const struct datapath_sizes *sizes = &options->sizes;
	/* VIPs, backends, and the node's own addresses. */
	const uint32_t addresses = sizes->frontends + sizes->backends + 1024;
	const struct map_size wanted[] = {
		{"frontends", sizes->frontends},
		{"source_ranges", sizes->source_ranges},
		{"addresses", addresses},
		{"address_flows", addresses},
		{"services", sizes->services},
		{"service_names", sizes->services},
		{"service_stats", sizes->services},
		{"slots", sizes->slots},
		{"backends", sizes->backends},
		{"affinity", sizes->affinity},
		{"flows", options->with_tc ? sizes->flows : 1},
		{"flow_checks", FLOW_CHECKS(options->with_tc ? sizes->flows : 1)},
		{"new_flows", options->with_tc ? sizes->new_flows : 1},
		{"fragments", options->with_tc ? FRAGMENTS_DEFAULT : 1},
		{"own_replies", options->with_tc ? OWN_REPLIES_MAX : 1},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, wanted[i].name);

		if (map && bpf_map__set_max_entries(map, wanted[i].entries))
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

	refusal_forget();
	datapath->tc = tc_bpf__open();
	if (!datapath->tc)
		return log_err(-errno, "cannot open the TC programs");
	layer3_choose(datapath->tc, false);
	err = maps_resize(options, datapath->tc->obj);
	if (!err)
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
	return err && err != -EPROTO ? refusal_log(err, "the TC programs") : err;
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
	if (!err)
		err = sweep_bpf__load(sweep);
	return err ? err : program_keep(sweep->progs.fl_sweep_start, &datapath->sweep_program);
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

	refusal_forget();
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
	return err && err != -EPROTO ? refusal_log(err, "the socket programs") : err;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Loads all programs and logs how long that took: it is mostly the verifier, and most of a start.
 */
static int programs_load(struct datapath *datapath, const struct datapath_options *options)
{
	uint64_t begun_ms = now_ms();
	int err = tc_load(datapath, options);

	if (!err)
		err = socket_load(datapath);
	if (!err)
		log_debug("the programs are loaded, in %llu ms",
			  (unsigned long long)(now_ms() - begun_ms));
	return err;
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
	int err = 0;

	for (size_t i = 0; !err && i < socket_program_count(datapath); i++) {
		struct cgroup_program *kept = &datapath->socket_programs[i];

		kept->type = hooks[i].type;
		kept->name = hooks[i].name;
		err = program_keep(hooks[i].program, &kept->fd);
	}
	return err;
}

static int descriptors_keep(struct datapath *datapath)
{
	struct link_programs *programs = &datapath->link_programs[false];
	int err = map_fds_add(&datapath->maps, datapath->tc->obj);

	if (!err)
		err = map_fds_add(&datapath->maps, datapath->socket->obj);
	if (!err)
		err = program_keep(datapath->tc->progs.fl_ingress, &programs->ingress);
	if (!err)
		err = program_keep(datapath->tc->progs.fl_egress, &programs->egress);
	if (!err)
		err = socket_programs_keep(datapath);
	return err ? log_err(err, "cannot keep the descriptors of the datapath") : 0;
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

	refusal_forget();
	tc = tc_bpf__open();
	if (!tc)
		return log_err(-errno, "cannot open the TC programs");
	tc->rodata->config = datapath->config;
	layer3_choose(tc, true);
	err = map_fds_reuse(&datapath->maps, tc->obj);
	if (!err)
		err = tc_bpf__load(tc);
	if (err)
		return refusal_log(err, "the TC programs for links without a link-layer header");
	err = program_keep(tc->progs.fl_ingress_l3, &ret_programs->ingress);
	return err ? err : program_keep(tc->progs.fl_egress_l3, &ret_programs->egress);
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

	refusal_forget();
	xdp = xdp_bpf__open();
	if (!xdp)
		return -errno;
	xdp->rodata->config = datapath->config;
	xdp->rodata->frames_may_be_split = takes_split;
	if (takes_split)
		(void)bpf_program__set_flags(xdp->progs.fl_xdp, BPF_F_XDP_HAS_FRAGS);
	err = map_fds_reuse(&datapath->maps, xdp->obj);
	if (!err)
		err = xdp_bpf__load(xdp);
	return err ? err : program_keep(xdp->progs.fl_xdp, ret_program);
}

static void datapath_freep(struct datapath **datapath)
{
	datapath_close(*datapath);
}

int datapath_open(const struct datapath_options *options, struct datapath **ret_datapath)
{
	auto_cleanup(datapath_freep) struct datapath *datapath = calloc(1, sizeof(*datapath));
	int err;

	if (!datapath)
		return log_err(-ENOMEM, "cannot allocate the datapath");
	datapath->lock_fd = -1;
	datapath->sweep_program = -1;
	memset(datapath->link_programs, -1, sizeof(datapath->link_programs));
	for (size_t i = 0; i < SOCKET_PROGRAM_COUNT; i++)
		datapath->socket_programs[i].fd = -1;
	datapath->xdp_program = -1;
	datapath->takes_split_frames = options->xdp_takes_split_frames;
	datapath->config = options->config;
	datapath->with_tc = options->with_tc;
	datapath->wants_bind = datapath->has_bind = options->bind_protection;
	if (snprintf(datapath->pinned.pin_dir, PATH_MAX, "%s", options->pin_dir) >= PATH_MAX)
		return log_err(-ENAMETOOLONG, "the pin directory's name is too long");
	(void)libbpf_set_print(refusal_note);
	err = pin_dir_make(options->pin_dir);
	if (err)
		return err;
	datapath->lock_fd = pin_dir_lock(options->pin_dir);
	if (datapath->lock_fd == -EBUSY) {
		(void)log_err(
			0,
			"another agent uses the pins in %s: stop it, or give this one its own --pin-dir",
			options->pin_dir);
		return -EBUSY;
	}
	if (datapath->lock_fd < 0)
		return log_err(datapath->lock_fd, "cannot lock %s", options->pin_dir);
	err = programs_load(datapath, options);
	if (!err)
		err = descriptors_keep(datapath);
	if (!err)
		err = pinned_maps_copy(&datapath->pinned, &datapath->maps);
	if (!err)
		err = pinned_maps_add(&datapath->pinned, datapath->tc->obj);
	if (!err)
		err = pinned_maps_add(&datapath->pinned, datapath->socket->obj);
	if (err)
		return err;
	objects_close(datapath);
	if (options->with_tc && sweep_load(datapath))
		log_debug("the kernel does not take the program with a timer (%s)",
			  refusal_complaint());
	*ret_datapath = take_ptr(datapath);
	return 0;
}

int datapath_commit(struct datapath *datapath)
{
	int err = pinned_maps_commit(&datapath->pinned, &datapath->maps);

	if (!err)
		sweep_start(datapath);
	return err;
}

bool datapath_is_pinned(const char *pin_dir)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/services", pin_dir) < (int)sizeof(path) &&
	       !access(path, F_OK);
}

static void descriptor_close(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void programs_close(const struct datapath *datapath)
{
	for (size_t i = 0; i < 2; i++) {
		descriptor_close(datapath->link_programs[i].ingress);
		descriptor_close(datapath->link_programs[i].egress);
	}
	descriptor_close(datapath->xdp_program);
	descriptor_close(datapath->sweep_program);
	for (size_t i = 0; i < SOCKET_PROGRAM_COUNT; i++)
		descriptor_close(datapath->socket_programs[i].fd);
}

void datapath_close(struct datapath *datapath)
{
	if (!datapath)
		return;
	pinned_maps_forget(&datapath->pinned);
	objects_close(datapath);
	programs_close(datapath);
	map_fds_close(&datapath->maps);
	if (datapath->lock_fd >= 0)
		(void)close(datapath->lock_fd);
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
			    strerror(-err), refusal_complaint());
	*ret_program = datapath->xdp_program;
	return err;
}

size_t datapath_socket_programs(const struct datapath *datapath,
				struct cgroup_program ret_programs[SOCKET_PROGRAM_COUNT])
{
	memcpy(ret_programs, datapath->socket_programs, sizeof(datapath->socket_programs));
	return socket_program_count(datapath);
}

struct publish_maps datapath_publish_maps(const struct datapath *datapath)
{
	return (struct publish_maps){
		.frontends = datapath_map(datapath, "frontends"),
		.addresses = datapath_map(datapath, "addresses"),
		.address_flows = datapath_map(datapath, "address_flows"),
		.services = datapath_map(datapath, "services"),
		.slots = datapath_map(datapath, "slots"),
		.backends = datapath_map(datapath, "backends"),
		.service_names = datapath_map(datapath, "service_names"),
		.service_stats = datapath_map(datapath, "service_stats"),
		.unprogrammed = datapath_map(datapath, "unprogrammed"),
		.source_ranges = datapath_map(datapath, "source_ranges"),
		.flows = datapath_map(datapath, "flows"),
		.node_ports = datapath_map(datapath, "node_ports"),
		.far_backends = datapath_map(datapath, "far_backends"),
		.services_max = map_fds_entries(&datapath->maps, "services"),
		.slots_max = map_fds_entries(&datapath->maps, "slots"),
		.backends_max = map_fds_entries(&datapath->maps, "backends"),
	};
}

int datapath_map(const struct datapath *datapath, const char *name)
{
	return map_fds_find(&datapath->maps, name);
}

uint32_t datapath_map_entries(const struct datapath *datapath, const char *name)
{
	return map_fds_entries(&datapath->maps, name);
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
