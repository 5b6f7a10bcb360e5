/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * BPF maps: the table of fairlead's pinned ones (fairlead/maps.h), and the one place that reads the
 * entries of a map.
 *
 * Reading has no side effects: system calls do not mark entries of LRU maps as used (Linux 5.2 and
 * later). Whole buckets are copied at a time where the kernel has batch lookup for the map, and
 * entry by entry elsewhere. Entries that are added or deleted meanwhile may be seen or not; no
 * 64-bit word is seen half-written. All functions are silent.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/maps.h"

/* What fairlead/maps.h says of a pinned map. */
struct map_spec {
	const char *name;
	size_t key_size;
	size_t value_size;
	unsigned int traits; /* enum map_trait */
};

extern const struct map_spec map_table[MAP_COUNT];

/* The map of this name; NULL: no pinned map has it. */
const struct map_spec *map_table_find(const char *name);

/* Also false for a map that is not pinned. */
bool map_has_trait(const char *name, enum map_trait trait);

/* Writes DIR/NAME into `path`. Returns 0 or -ENAMETOOLONG. */
int pin_path(char path[PATH_MAX], const char *dir, const char *name);

/* The number of entries that the map has room for; 0 if `fd` is not a map. */
uint32_t map_max_entries(int fd);

/* Bytes of memory that the kernel accounts to the map; 0: unknown. */
uint64_t map_memory(int fd);

/*
 * Called for each entry; `key` and `value` are valid only during the call. The value of a per-CPU
 * map is the sum over all CPUs, 64-bit word by word. The function may delete the entry.
 */
typedef void (*map_entry_fn)(const void *key, const void *value, void *context);

/* Hands on all entries of a map. Returns 0 or a negative errno. */
int map_each(int fd, map_entry_fn fn, void *context);

/* The number of entries of a map, by reading it; or a negative errno. */
int64_t map_count(int fd);

/* Whether the entry with this key stays. */
typedef bool (*map_key_fn)(const void *key, const void *context);

/*
 * Deletes the entries of a hash table or trie whose keys are not wanted. Goes on after an entry
 * that cannot be deleted. Returns 0 or a negative errno, the first one.
 */
int map_keep_only(int fd, map_key_fn is_wanted, const void *context);

/*
 * Zeroed room for the value of a per-CPU map on all CPUs, as the kernel copies it in and out.
 * `value_size` is that of the map. Returns NULL if there is no memory, or if the number of CPUs is
 * unknown. The caller frees it.
 */
void *map_cpu_values_new(size_t value_size);

/*
 * Looks a key of a per-CPU map up, with `values` as room, and adds the values of all CPUs, 64-bit
 * word by word. Returns 0 or a negative errno: -ENOENT if there is no entry.
 */
int map_lookup_sum(int fd, const void *key, size_t value_size, void *values, void *ret_sum);

/* Progress through a map that is read in steps, so that an event loop can do other work between. */
struct map_walk {
	int fd; /* owned */
	uint32_t key_size, value_size;
	uint32_t cpus; /* values per entry; 0: not a per-CPU map */
	size_t stride; /* bytes of an entry's values as the kernel copies them out */
	uint32_t room; /* entries per step */
	uint64_t steps_left;
	bool has_position, has_no_batches;
	char *position, *next, *keys, *values, *sum;
};

/*
 * Starts a walk through the map `fd`, which the caller may close at once. Returns 0 or a negative
 * errno; in either case the caller must call map_walk_fini.
 */
int map_walk_init(struct map_walk *walk, int fd);
void map_walk_fini(struct map_walk *walk);

/*
 * Hands on about a thousand entries at most. Returns 1 (there may be more), 0 (the walk is
 * complete) or a negative errno.
 */
int map_step(struct map_walk *walk, map_entry_fn fn, void *context);
