/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reads a hash map in steps of bounded work, so that the loop can handle other events between the
 * steps. Entries that are added or deleted meanwhile may be missed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

struct map_walk {
	int fd; /* owned */
	__u32 key_size, value_size;
	__u32 room; /* entries per step */
	uint64_t steps_left;
	bool has_position, has_no_batches;
	char *position, *next, *keys, *values;
};

/* Called for each entry; `key` and `value` are valid only during the call. */
typedef void (*map_walk_fn)(const void *key, const void *value, void *context);

/*
 * Starts a walk through the map `fd`, which the caller may close at once. Returns 0 or a negative
 * errno; in either case the caller must call map_walk_fini. Silent.
 */
int map_walk_init(struct map_walk *walk, int fd);
void map_walk_fini(struct map_walk *walk);

/*
 * Reads some entries. Returns 1 (there may be more), 0 (the walk is complete) or a negative errno.
 * Silent.
 */
int map_walk_step(struct map_walk *walk, map_walk_fn fn, void *context);

/* Reads all entries of a map that is known to be small. Returns 0 or a negative errno. Silent. */
int map_walk_all(int fd, map_walk_fn fn, void *context);

/* The map's maximum number of entries; 0 if `fd` is not a map. */
uint32_t map_limit(int fd);
