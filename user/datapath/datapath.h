/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The datapath as user space holds it: the loaded programs and the pinned maps. Programs are loaded
 * anew at each start and replace those of an earlier run in place; maps that are pinned are used
 * again, so that flows, affinity and ids survive.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/config.h"
#include "link/hooks/cgroup.h"
#include "link/link.h"
#include "publish/publish.h"

/* How many entries maps shall have. */
struct datapath_sizes {
	uint32_t services;
	uint32_t frontends;
	uint32_t source_ranges;
	uint32_t slots;
	uint32_t backends;
	uint32_t flows; /* directions */
	uint32_t new_flows;
	uint32_t affinity;
};

struct datapath_options {
	const char *pin_dir;
	struct datapath_sizes sizes;
	struct config config; /* what the kernel lacks is switched off in it by trying */
	bool with_tc;         /* false: the flow tables are not needed and stay tiny */
	bool bind_protection; /* the last two socket programs are wanted */
	/*
	 * Drivers may hand large frames to XDP in several buffers, where the kernel knows of
	 * such (5.18). Not with generic XDP: packets come out of that wrong (seen on 6.18), and
	 * TC cannot read them any more.
	 */
	bool xdp_takes_split_frames;
};

#define SOCKET_PROGRAM_COUNT 10 /* at most */
#define BIND_PROGRAM_COUNT   2  /* of them */

struct datapath;

/*
 * Takes the pin directory for this process (-EBUSY: another agent has it), mounts bpffs there if
 * need be, loads the programs, and makes or adopts the maps. Pinned maps that are too small for
 * `sizes` are replaced by larger ones with the same content once datapath_commit is called. Logs.
 */
int datapath_open(const struct datapath_options *options, struct datapath **ret_datapath);

/* True if an earlier run has left a datapath there. */
bool datapath_is_pinned(const char *pin_dir);

/*
 * Pins what was made anew, in place of what was there. To be called when the new programs are
 * attached: until then a crash leaves the old maps, with the old programs, in place. Logs.
 */
int datapath_commit(struct datapath *datapath);

/* Unloads what is not pinned or attached. NULL is fine. */
void datapath_close(struct datapath *datapath);

/* Descriptors here and below are borrowed until datapath_close. */

/*
 * The TC programs for links with a link-layer header, or for those without: what few nodes need is
 * only loaded when it is first asked for. Returns 0 or a negative errno. Logs.
 */
int datapath_link_programs(struct datapath *datapath, bool is_layer3,
			   struct link_programs *ret_programs);

/*
 * The XDP program, loaded when it is first asked for. Returns 0 or a negative errno: this kernel
 * does not take it, and a warning says so.
 */
int datapath_xdp_program(struct datapath *datapath, int *ret_program);

/* Returns how many there are. */
size_t datapath_socket_programs(const struct datapath *datapath,
				struct cgroup_program ret_programs[SOCKET_PROGRAM_COUNT]);
struct publish_maps datapath_publish_maps(const struct datapath *datapath);

/* Any map by its name, or -1. */
int datapath_map(const struct datapath *datapath, const char *name);

/* How many entries it has room for; 0: there is no such map. */
uint32_t datapath_map_entries(const struct datapath *datapath, const char *name);

/* enum degraded bits: what this kernel lacks. */
uint32_t datapath_degraded(const struct datapath *datapath);
