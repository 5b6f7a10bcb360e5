/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reads a hash map in steps of bounded work, so that a large one can be read between other events
 * of the loop. Entries that come or go meanwhile may be seen or not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

struct map_walk {
	int fd; /* owned */
	__u32 key_size, value_size;
	__u32 room; /* entries a step */
	uint64_t steps_left;
	bool has_position, has_no_batches;
	char *position, *next, *keys, *values;
};

/* Called with an entry; both are valid during the call only. */
typedef void (*map_walk_fn)(const void *key, const void *value, void *context);

/* Begins a walk through the map `fd`, which may be closed meanwhile. Returns 0 or a negative errno;
 * either way the caller calls map_walk_fini. Silent. */
int map_walk_init(struct map_walk *walk, int fd);
void map_walk_fini(struct map_walk *walk);

/* Reads some entries. Returns 1: there may be more, 0: that was all, or a negative errno. Silent.
 */
int map_walk_step(struct map_walk *walk, map_walk_fn fn, void *context);

/* All of a map that is known to be small. Returns 0 or a negative errno. Silent. */
int map_walk_all(int fd, map_walk_fn fn, void *context);

/* How many entries the map can have; 0: it is no map. */
uint32_t map_limit(int fd);
