/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The pinned maps that commands show, opened for reading. */

#include <linux/bpf.h>
#include <stdint.h>

#include "base/map.h"
#include "fairlead/types.h"

#define MAP_BIT(id) (1ULL << (id))
_Static_assert(MAP_COUNT <= 64, "a bit for each map");

#define MAP_BIT_IF_SHOWN(id, name, key, value, traits) | (MAP_IS_SHOWN & (traits) ? MAP_BIT(id) : 0)
#define MAPS_SHOWN                                     (0ULL FAIRLEAD_MAPS(MAP_BIT_IF_SHOWN))

struct pinned_map {
	int fd; /* -1: not opened */
	__u32 value_size;
	__u32 max_entries;
};

struct shown_maps {
	const char *pin_dir; /* borrowed */
	struct pinned_map items[MAP_COUNT];
};

/* The path of a map's pin; the caller frees it. */
char *pinned_map_path(const char *pin_dir, enum map_id id);

/* Opens the map that is pinned at `path` for reading. A descriptor or a negative errno. Silent. */
int pinned_map_open(const char *path, struct bpf_map_info *ret_info);

/*
 * Opens the maps in `wanted` (MAP_BIT). Complains in one sentence that says what is missing and
 * what to do. Returns 0 or a negative errno; either way the caller calls shown_maps_close.
 */
int shown_maps_open(struct shown_maps *maps, const char *pin_dir, uint64_t wanted);
void shown_maps_close(struct shown_maps *maps);

/* As map_each. Complains. Returns 0 or a negative errno. */
int shown_map_read(const struct shown_maps *maps, enum map_id id, map_entry_fn fn, void *context);
