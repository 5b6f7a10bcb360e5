/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/map_table.h"
#include "cli/alloc.h"
#include "cli/complain.h"
#include "fairlead/agent.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

#define BATCH_ENTRIES  1024
#define ERRNO_ENOTSUPP 524 /* internal to the kernel, not in errno.h */

static bool is_on_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* Explains why there are no readable maps in `pin_dir`, and what to do. */
static void pin_dir_explain(const char *pin_dir, int err)
{
	auto_cleanup(cleanup_free) char *copy = alloc_text(pin_dir);
	const char *parent = dirname(copy);

	if (err == -EACCES || err == -EPERM)
		complain("%s cannot be read: run as root, or with CAP_BPF and access to the pins",
			 pin_dir);
	else if (!access(pin_dir, F_OK) && !is_on_bpffs(pin_dir))
		complain(
			"%s is not on a bpffs, or its bpffs is mounted in another mount namespace: "
			"start `fairlead agent`, which mounts one, or name another folder with "
			"--pin-dir",
			pin_dir);
	else if (access(pin_dir, F_OK) && !is_on_bpffs(parent))
		complain("%s does not exist and no bpffs is mounted at %s: start `fairlead agent`, "
			 "which "
			 "mounts one, or name another folder with --pin-dir",
			 pin_dir, parent);
	else
		complain("no datapath at %s: start `fairlead agent`, or name its folder with "
			 "--pin-dir",
			 pin_dir);
}

static void map_explain(const char *pin_dir, const char *path, int err)
{
	auto_cleanup(cleanup_free) char *services =
		alloc_format("%s/%s", pin_dir, map_table[MAP_SERVICES].name);

	if (err == -ENOENT && !access(services, F_OK))
		complain("%s is missing: the datapath at %s is incomplete, or another version of "
			 "fairlead "
			 "made it; start `fairlead agent` to complete it",
			 path, pin_dir);
	else if (err == -ENOENT || err == -EACCES || err == -EPERM || !is_on_bpffs(pin_dir))
		pin_dir_explain(pin_dir, err);
	else
		complain("cannot open the map %s: %s", path, strerror(-err));
}

static int map_check_shape(const struct pinned_map *map, enum map_id id, const char *path)
{
	const struct map_entry *entry = &map_table[id];

	if (map->key_size == entry->key_size && map->value_size == entry->value_size)
		return 0;
	complain(
		"%s was made by another version of fairlead (its entries have %u + %u bytes, not "
		"%zu + %zu): use that version's command, or run `fairlead cleanup` and start this version's agent",
		path, map->key_size, map->value_size, entry->key_size, entry->value_size);
	return -EPROTO;
}

static int map_open(struct maps *maps, enum map_id id)
{
	auto_cleanup(cleanup_free) char *path =
		alloc_format("%s/%s", maps->pin_dir, map_table[id].name);
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	struct pinned_map *map = &maps->items[id];
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	map->fd = bpf_obj_get_opts(path, &opts);
	if (map->fd < 0) {
		int err = map->fd;

		map->fd = -1;
		map_explain(maps->pin_dir, path, err);
		return err;
	}
	if (bpf_obj_get_info_by_fd(map->fd, &info, &size)) {
		complain("%s is no map: name another folder with --pin-dir", path);
		return -EPROTO;
	}
	map->type = info.type;
	map->key_size = info.key_size;
	map->value_size = info.value_size;
	map->max_entries = info.max_entries;
	return map_check_shape(map, id, path);
}

int maps_open(struct maps *maps, const char *pin_dir, uint64_t wanted)
{
	int err = 0;

	*maps = (struct maps){.pin_dir = pin_dir};
	for (int id = 0; id < MAP_COUNT; id++)
		maps->items[id].fd = -1;
	(void)libbpf_set_print(NULL);
	for (int id = 0; id < MAP_COUNT && !err; id++) {
		if (wanted & MAP_BIT(id))
			err = map_open(maps, (enum map_id)id);
	}
	return err;
}

void maps_close(struct maps *maps)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (maps->items[id].fd >= 0)
			(void)close(maps->items[id].fd);
		maps->items[id].fd = -1;
	}
}

/* The state of reading one map, with buffers for keys and values as the kernel copies them out. */
struct reading {
	const struct pinned_map *map;
	map_entry_fn fn;
	void *context;
	size_t cpus; /* 0: not a per-CPU map */
	size_t stride;
	char *keys;
	char *values;
	__u32 room; /* entries */
	__u64 *sum; /* of one per-CPU value */
};

static void reading_free(struct reading *reading)
{
	free(reading->keys);
	free(reading->values);
	free(reading->sum);
}

static void reading_make_room(struct reading *reading, __u32 room)
{
	free(reading->keys);
	free(reading->values);
	reading->room = room;
	reading->keys = alloc_zeroed(room, reading->map->key_size);
	reading->values = alloc_zeroed(room, reading->stride);
}

static void reading_init(struct reading *reading)
{
	const struct pinned_map *map = reading->map;
	size_t rounded = (map->value_size + 7UL) & ~7UL;

	reading->stride = map->value_size;
	if (map->type == BPF_MAP_TYPE_PERCPU_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_HASH ||
	    map->type == BPF_MAP_TYPE_LRU_PERCPU_HASH) {
		reading->cpus = (size_t)libbpf_num_possible_cpus();
		reading->stride = rounded * reading->cpus;
		reading->sum = alloc_zeroed(1, rounded);
	}
	reading_make_room(reading, BATCH_ENTRIES);
}

static void entry_hand_on(struct reading *reading, const char *key, const char *value)
{
	size_t words = (reading->map->value_size + 7UL) / 8;

	if (!reading->cpus) {
		reading->fn(key, value, reading->context);
		return;
	}
	memset(reading->sum, 0, words * 8);
	for (size_t cpu = 0; cpu < reading->cpus; cpu++) {
		for (size_t word = 0; word < words; word++) {
			__u64 part;

			memcpy(&part, value + (cpu * words + word) * 8, sizeof(part));
			reading->sum[word] += part;
		}
	}
	reading->fn(key, reading->sum, reading->context);
}

static void batch_hand_on(struct reading *reading, __u32 count)
{
	for (__u32 i = 0; i < count; i++)
		entry_hand_on(reading, reading->keys + (size_t)i * reading->map->key_size,
			      reading->values + i * reading->stride);
}

/*
 * Returns 0, -EOPNOTSUPP if the kernel has no batch lookup for this map, or another negative errno.
 */
static int read_in_batches(struct reading *reading)
{
	/* The position is a bucket number in a hash map, and a key in an array. */
	size_t position_size =
		reading->map->key_size > sizeof(__u32) ? reading->map->key_size : sizeof(__u32);
	auto_cleanup(cleanup_free) char *position = alloc_zeroed(1, position_size);
	auto_cleanup(cleanup_free) char *next = alloc_zeroed(1, position_size);
	bool has_position = false;
	int err = 0;

	while (!err) {
		__u32 count = reading->room;

		err = bpf_map_lookup_batch(reading->map->fd, has_position ? position : NULL, next,
					   reading->keys, reading->values, &count, NULL);
		if (err == -ENOSPC) { /* a bucket exceeds the buffer */
			reading_make_room(reading, reading->room * 2);
			err = 0;
			continue;
		}
		if (!has_position && (err == -EINVAL || err == -ERRNO_ENOTSUPP))
			return -EOPNOTSUPP;
		if (!err || err == -ENOENT)
			batch_hand_on(reading, count);
		memcpy(position, next, position_size);
		has_position = true;
	}
	return err == -ENOENT ? 0 : err;
}

/*
 * For kernels without batch lookup. If the entry at the position is deleted meanwhile, the kernel
 * starts over, so the number of steps is limited to twice the map's capacity.
 */
static int read_one_by_one(struct reading *reading)
{
	auto_cleanup(cleanup_free) char *key = alloc_zeroed(1, reading->map->key_size);
	const void *position = NULL;
	int err;

	for (__u64 step = 0; step < 2ULL * reading->map->max_entries; step++) {
		err = bpf_map_get_next_key(reading->map->fd, position, reading->keys);
		if (err)
			return err == -ENOENT ? 0 : err;
		memcpy(key, reading->keys, reading->map->key_size);
		position = key;
		err = bpf_map_lookup_elem(reading->map->fd, key, reading->values);
		if (!err)
			entry_hand_on(reading, key, reading->values);
		else if (err != -ENOENT)
			return err;
	}
	return 0;
}

int map_read(const struct maps *maps, enum map_id id, map_entry_fn fn, void *context)
{
	auto_cleanup(reading_free) struct reading reading = {
		.map = &maps->items[id],
		.fn = fn,
		.context = context,
	};
	int err;

	reading_init(&reading);
	err = read_in_batches(&reading);
	if (err == -EOPNOTSUPP)
		err = read_one_by_one(&reading);
	if (err)
		complain("cannot read the map %s/%s: %s", maps->pin_dir, map_table[id].name,
			 strerror(-err));
	return err;
}

uint64_t map_memory(const struct maps *maps, enum map_id id)
{
	auto_cleanup(cleanup_free) char *path =
		alloc_format("/proc/self/fdinfo/%d", maps->items[id].fd);
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "re");
	uint64_t bytes = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "memlock: %" SCNu64, &bytes) == 1)
			break;
	}
	return bytes;
}
