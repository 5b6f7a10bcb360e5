/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Reads a hash map with many entries per system call. */

#include <stdbool.h>
#include <stdint.h>

/* How many entries a call reads, and how much room buffers need beyond the map's entries. */
#define MAP_READ_BATCH 4096U

/* Where a walk through a map is; made with MAP_CURSOR. */
struct map_cursor {
	int map; /* borrowed */
	uint32_t position, batch;
	bool has_begun, is_end;
};

#define MAP_CURSOR(fd) ((struct map_cursor){.map = (fd), .batch = MAP_READ_BATCH})

/* The number of entries that a map has room for. Returns 0 or a negative errno. */
int map_size(int map, uint32_t *ret_entries);

/*
 * Reads the next entries, at most `room`, to `keys` and `values`. Sets `is_end` with the last ones.
 * Returns 0 or a negative errno.
 */
int map_cursor_read(struct map_cursor *cursor, void *keys, void *values, uint32_t room,
		    uint32_t *ret_count);
