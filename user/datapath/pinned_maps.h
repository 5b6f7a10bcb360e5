/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The maps below the pin directory: those of an earlier run are used again, unless they have become
 * too small. Then larger ones take their places once the new programs are attached.
 */

#include <bpf/libbpf.h>
#include <limits.h>
#include <stddef.h>

#include "datapath/map_fds.h"

#define PINNED_MAPS_MAX 32

struct pinned_maps {
	char pin_dir[PATH_MAX];
	/* Pinned maps that are too small, until commit. */
	struct {
		char name[MAP_FDS_NAME_SIZE];
		int old_fd;
	} grown[PINNED_MAPS_MAX];
	size_t grown_count;
};

/* All of these log, and return 0 or a negative errno, unless they say otherwise. */

/*
 * Lets a map of an object that is not loaded yet be the pinned one of its name, if there is one and
 * it is large enough; remembers it to be replaced where it is not. -EPROTO: it was made by another
 * version.
 */
int pinned_map_adopt(struct pinned_maps *pinned, struct bpf_map *map);

/* The same for all maps of an object but those that live only as long as its programs do. */
int pinned_maps_adopt(struct pinned_maps *pinned, struct bpf_object *object);

/* Copies what is too small into the larger maps that were loaded. */
int pinned_maps_copy(const struct pinned_maps *pinned, const struct map_fds *kept);

/* Pins the maps of an object that are not pinned yet. */
int pinned_maps_add(const struct pinned_maps *pinned, struct bpf_object *object);

/* Pins the larger maps in place of those that are too small. */
int pinned_maps_commit(struct pinned_maps *pinned, const struct map_fds *kept);

/* Forgets which maps are too small: they stay in use. Silent. */
void pinned_maps_forget(struct pinned_maps *pinned);
