/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The maps in the pin directory. Those of an earlier run are reused, unless they have become too
 * small, or are the `counters` of a version with others: then new ones replace them once the new
 * programs are attached. Both are called outgrown.
 */

#include <bpf/libbpf.h>
#include <limits.h>

#include "datapath/map_fds.h"

struct pinned_maps {
	char pin_dir[PATH_MAX];
	/* The outgrown maps, until commit; -1: the pinned map is in use, or there is none. */
	int outgrown_fds[MAP_COUNT];
};

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

/* The same for all maps of an object. */
int pinned_maps_adopt(struct pinned_maps *pinned, struct bpf_object *object);

/* Copies the content of the outgrown maps into the new ones, which are loaded. */
int pinned_maps_copy(const struct pinned_maps *pinned, const struct map_fds *fds);

/* Pins the maps that are not pinned yet. Returns how many those were. Silent. */
int pinned_maps_add(const struct pinned_maps *pinned, const struct map_fds *fds);

/* Pins the new maps in place of the outgrown ones. */
int pinned_maps_commit(struct pinned_maps *pinned, const struct map_fds *fds);

/* Forgets which maps are outgrown; their pins stay. Silent. */
void pinned_maps_forget(struct pinned_maps *pinned);
