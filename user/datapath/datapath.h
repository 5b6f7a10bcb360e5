/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The datapath as user space holds it: the loaded programs and the pinned maps. Programs are loaded
 * at each start and replace those of an earlier run in place; pinned maps are reused, so that
 * flows, affinity and ids survive.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/config.h"
#include "fairlead/maps.h"

struct cgroup_program;
struct link_programs;
struct publisher_maps;

/* The wanted sizes of maps, in entries. */
struct datapath_sizes {
	uint32_t services;
	uint32_t frontends;
	uint32_t addresses;
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
	struct config config; /* features that the kernel turns out to lack are switched off */
	bool with_tc;         /* false: the flow tables are not needed and stay tiny */
	bool bind_protection; /* load the last two socket programs too */
	/*
	 * Drivers may deliver large frames to XDP in several buffers, if the kernel supports that
	 * (5.18). Not with generic XDP: such packets come out of it damaged (seen on 6.18), and TC
	 * cannot read them any more.
	 */
	bool xdp_takes_split_frames;
};

#define SOCKET_PROGRAM_COUNT 10 /* at most */
#define BIND_PROGRAM_COUNT   2  /* of them */

struct datapath;

/*
 * Locks the pin directory for this process (-EBUSY: another agent has it), mounts bpffs there if
 * need be, loads the programs, and creates or adopts the maps. Pinned maps that are too small for
 * `sizes` are replaced by larger ones with the same content when datapath_commit is called. Logs.
 */
int datapath_open(const struct datapath_options *options, struct datapath **ret_datapath);

/* True if an earlier run has left a datapath there. */
bool datapath_is_pinned(const char *pin_dir);

/*
 * Where larger tables replace those of flows: holds all flows (flow_transfer.h), so that none comes
 * or goes while hooks have programs of both generations, and copies them. To be called before the
 * first hook gets these programs. Until datapath_release_flows, flows stay held, even if this
 * process ends: the next agent goes on. If the flows cannot be held, they stay as they were, and
 * this datapath must not be used. Logs. Returns 0 or a negative errno.
 */
int datapath_hold_flows(struct datapath *datapath);

/*
 * Ends that. To be called once all hooks have these programs, even if flows are not held. Logs.
 * Returns 0 or a negative errno.
 */
int datapath_release_flows(struct datapath *datapath);

/*
 * Pins the maps that replace pinned ones. To be called once the new programs are attached: until
 * then, a crash leaves the old maps and the old programs in place. Logs.
 */
int datapath_commit(struct datapath *datapath);

/*
 * Ensures that the pin directory's path leads to the pins: under a running agent its bpffs may be
 * unmounted, something mounted over it, or pins removed. Returns 0 if all is well, 1 if maps were
 * pinned again, or moved to where the path leads now together with links that had not lost their
 * pins; or a negative errno, as pin_dir_move() does. Silent.
 */
int datapath_restore_pins(struct datapath *datapath);

/* Unloads everything that is neither pinned nor attached. NULL is fine. */
void datapath_close(struct datapath *datapath);

/* Descriptors here and below are borrowed until datapath_close. */

/*
 * The TC programs for links with a link-layer header, or for those without one: few nodes need the
 * latter, so they are loaded at the first call. Returns 0 or a negative errno. Logs.
 */
int datapath_link_programs(struct datapath *datapath, bool is_layer3,
			   struct link_programs *ret_programs);

/*
 * The XDP program, loaded at the first call. Returns 0, or a negative errno if the kernel refuses
 * the program, which is logged as a warning.
 */
int datapath_xdp_program(struct datapath *datapath, int *ret_program);

/* Fills in the socket programs, SOCKET_PROGRAM_COUNT at most. Returns how many there are. */
size_t datapath_socket_programs(const struct datapath *datapath,
				struct cgroup_program *ret_programs);

struct publisher_maps datapath_publisher_maps(const struct datapath *datapath);

/* The descriptor of a map. */
int datapath_map(const struct datapath *datapath, enum map_id id);

/* The number of entries that a map has room for. */
uint32_t datapath_map_entries(const struct datapath *datapath, enum map_id id);

/* The enum degraded bits for what this kernel lacks. */
uint32_t datapath_degraded(const struct datapath *datapath);
