/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The maps in the pin directory. Those of an earlier run are reused, unless they have become too
 * small, or are the `counters` of a version with others: then new ones replace them once the new
 * programs are attached. Both are called outgrown.
 *
 * The larger tables of flows are pinned before any hook gets programs that use them, as NAME_new,
 * `flows` last. An agent that finds `flows_new` goes on with these: the one before ended while
 * hooks had programs of both generations. And before it holds the flows (flow_transfer.h) an agent
 * pins `flows_held`, so that the next one releases them.
 */

#include <bpf/libbpf.h>
#include <limits.h>
#include <stdbool.h>

#include "datapath/map_fds.h"

struct pinned_maps {
	char pin_dir[PATH_MAX];
	/* The outgrown maps, until commit; -1: the pinned map is in use, or there is none. */
	int outgrown_fds[MAP_COUNT];
	bool is_interrupted; /* `flows_new` was there */
	bool outgrew_flows;  /* and so all maps of flows */
};

/* What follows the name of a map in that of the pin of one that is to replace it. */
#define PIN_NEW_SUFFIX "_new"
#define PIN_FLOWS_HELD "flows_held"

/* The room of a map that only the TC hooks use (MAP_IS_OF_TC) where there are none. */
uint32_t map_entries_without_tc(enum map_id id);

/* All of these log, and return 0 or a negative errno, unless they say otherwise. */

/* Silent. */
int pinned_maps_init(struct pinned_maps *pinned, const char *pin_dir);

/*
 * Makes a map of an object that is not loaded yet use the pinned map of the same name, if there is
 * one that is not outgrown. If it is, remembers that the new map will replace it. Maps that are
 * never pinned are left as they are. -EPROTO: another version of fairlead made it.
 */
int pinned_map_adopt(struct pinned_maps *pinned, struct bpf_map *map);

/* The same for all maps of an object, which is to have all maps of flows, or none. */
int pinned_maps_adopt(struct pinned_maps *pinned, struct bpf_object *object);

/*
 * Copies the content of the outgrown maps into the new ones, which are loaded; not that of the maps
 * of flows.
 */
int pinned_maps_copy(const struct pinned_maps *pinned, const struct map_fds *fds);

/* Pins the maps that are not pinned yet. Returns how many those were. Silent. */
int pinned_maps_add(const struct pinned_maps *pinned, const struct map_fds *fds);

/* Whether an earlier agent ended while it held the flows. Silent. */
bool pinned_flows_are_held(const struct pinned_maps *pinned);

/* Records in the pin directory that the flows are, or are no longer, held. */
int pinned_flows_mark_held(const struct pinned_maps *pinned, const struct map_fds *fds);
int pinned_flows_mark_released(const struct pinned_maps *pinned);

/* Pins the larger tables of flows beside the others: from now on the next agent would use them. */
int pinned_flows_announce(const struct pinned_maps *pinned, const struct map_fds *fds);

/* Pins the larger tables of flows, and their counts, in place of the outgrown ones. */
int pinned_flows_commit(struct pinned_maps *pinned, const struct map_fds *fds);

/* Pins the other new maps in place of the outgrown ones. */
int pinned_maps_commit(struct pinned_maps *pinned, const struct map_fds *fds);

/* Forgets which maps are outgrown; their pins stay. Silent. */
void pinned_maps_forget(struct pinned_maps *pinned);
