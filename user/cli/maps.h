/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The pinned maps, opened for reading. Reading disturbs nothing: system calls do not mark entries
 * of LRU maps as used (Linux 5.2 and later), and whole maps are copied bucket by bucket where the
 * kernel can.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"

enum map_id {
	MAP_FRONTENDS,
	MAP_ADDRESSES,
	MAP_ADDRESS_FLOWS,
	MAP_SERVICES,
	MAP_SLOTS,
	MAP_BACKENDS,
	MAP_SERVICE_NAMES,
	MAP_UNPROGRAMMED,
	MAP_AFFINITY,
	MAP_FLOWS,
	MAP_NEW_FLOWS,
	MAP_COUNTERS,
	MAP_SERVICE_STATS,
	MAP_LINKS,
	MAP_AGENT_STATUS,
	MAP_FRAGMENTS,
	MAP_COUNT
};

#define MAP_BIT(id) (1U << (id))
#define MAP_ALL     (MAP_BIT(MAP_COUNT) - 1)

struct pinned_map {
	int fd; /* -1: not opened */
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
};

struct maps {
	const char *pin_dir; /* borrowed */
	struct pinned_map items[MAP_COUNT];
};

const char *map_name(enum map_id id);

/*
 * Opens the maps of `wanted` (MAP_BIT). Complains in one sentence that says what is missing and
 * what to do. Returns 0 or a negative errno; either way the caller calls maps_close.
 */
int maps_open(struct maps *maps, const char *pin_dir, unsigned int wanted);
void maps_close(struct maps *maps);

/* Called for each entry. The value of a per-CPU map is the sum over all CPUs, word by word. */
typedef void (*map_entry_fn)(const void *key, const void *value, void *context);

/*
 * Reads a whole map. Entries that come or go meanwhile may be seen or not; none is seen torn across
 * a 64-bit word. Complains. Returns 0 or a negative errno.
 */
int map_read(const struct maps *maps, enum map_id id, map_entry_fn fn, void *context);

/* Bytes of memory that the kernel accounts to a map, from fdinfo; 0: unknown. */
uint64_t map_memory(const struct maps *maps, enum map_id id);
