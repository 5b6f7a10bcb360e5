/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

#define STEP_ENTRIES   1024
#define ERRNO_ENOTSUPP 524 /* kernel-internal, not in the UAPI headers */

#define MAP_SPEC(id, name, key, value, traits) [id] = {#name, sizeof(key), sizeof(value), traits},
const struct map_spec map_table[MAP_COUNT] = {FAIRLEAD_MAPS(MAP_SPEC)};

const struct map_spec *map_table_find(const char *name)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (!strcmp(map_table[id].name, name))
			return &map_table[id];
	}
	return NULL;
}

bool map_has_trait(const char *name, enum map_trait trait)
{
	const struct map_spec *spec = map_table_find(name);

	return spec && spec->traits & trait;
}

int pin_path(char path[PATH_MAX], const char *dir, const char *name)
{
	int len = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

uint32_t map_max_entries(int fd)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &info_size) ? 0 : info.max_entries;
}

uint64_t map_memory(int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return file_number(path, "memlock:");
}

/* The size of one CPU's value in what the kernel copies out. */
static size_t cpu_value_size(size_t value_size)
{
	return (value_size + 7) / 8 * 8;
}

static void cpus_add(const char *values, size_t value_size, uint32_t cpus, void *ret_sum)
{
	const size_t size = cpu_value_size(value_size);

	for (size_t offset = 0; offset < value_size; offset += sizeof(uint64_t)) {
		const size_t rest = value_size - offset;
		uint64_t sum = 0, part;

		for (uint32_t cpu = 0; cpu < cpus; cpu++) {
			memcpy(&part, values + cpu * size + offset, sizeof(part));
			sum += part;
		}
		memcpy((char *)ret_sum + offset, &sum, rest < sizeof(sum) ? rest : sizeof(sum));
	}
}

void *map_cpu_values_new(size_t value_size)
{
	const int cpus = libbpf_num_possible_cpus();

	return cpus > 0 ? calloc((size_t)cpus, cpu_value_size(value_size)) : NULL;
}

int map_lookup_sum(int fd, const void *key, size_t value_size, void *values, void *ret_sum)
{
	const int cpus = libbpf_num_possible_cpus();

	if (cpus < 0)
		return cpus;
	if (bpf_map_lookup_elem(fd, key, values))
		return -errno;
	cpus_add(values, value_size, (uint32_t)cpus, ret_sum);
	return 0;
}

/* Allocates room for the entries of one step. */
static int walk_make_room(struct map_walk *walk, uint32_t room)
{
	free(take_ptr(walk->keys));
	free(take_ptr(walk->values));
	walk->room = room;
	walk->keys = calloc(room, walk->key_size);
	walk->values = calloc(room, walk->stride);
	return walk->keys && walk->values ? 0 : -ENOMEM;
}

int map_walk_init(struct map_walk *walk, int fd)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	size_t position_size;
	uint32_t room;
	int err;

	*walk = (struct map_walk){.fd = -1};
	err = bpf_obj_get_info_by_fd(fd, &info, &info_size);
	if (err)
		return err;
	walk->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (walk->fd < 0)
		return -errno;
	walk->key_size = info.key_size;
	walk->value_size = info.value_size;
	walk->stride = info.value_size;
	if (info.type == BPF_MAP_TYPE_PERCPU_ARRAY || info.type == BPF_MAP_TYPE_PERCPU_HASH ||
	    info.type == BPF_MAP_TYPE_LRU_PERCPU_HASH) {
		const int cpus = libbpf_num_possible_cpus();

		if (cpus < 0)
			return cpus;
		walk->cpus = (uint32_t)cpus;
		walk->stride = walk->cpus * cpu_value_size(info.value_size);
	}
	/* In batches of a trie the position is a key: if it is deleted, the walk starts over. */
	walk->has_no_batches = info.type == BPF_MAP_TYPE_LPM_TRIE;
	/* Values may be large: a map of one entry needs room for one. */
	room = info.max_entries < STEP_ENTRIES ? info.max_entries : STEP_ENTRIES;
	room = room ? room : 1;
	/*
	 * Bounds the walk: without batches the kernel starts over when the entry at the position is
	 * deleted.
	 */
	walk->steps_left = 2ULL * info.max_entries / room + 2;
	/* The position is the number of a bucket (in batches) or a key. */
	position_size = info.key_size > sizeof(uint32_t) ? info.key_size : sizeof(uint32_t);
	walk->position = calloc(1, position_size);
	walk->next = calloc(1, position_size);
	walk->sum = calloc(1, walk->value_size);
	if (!walk->position || !walk->next || !walk->sum)
		return -ENOMEM;
	return walk_make_room(walk, room);
}

void map_walk_fini(struct map_walk *walk)
{
	cleanup_fd(&walk->fd);
	free(walk->position);
	free(walk->next);
	free(walk->keys);
	free(walk->values);
	free(walk->sum);
	*walk = (struct map_walk){.fd = -1};
}

static void walk_hand_on(const struct map_walk *walk, const char *key, const char *values,
			 map_entry_fn fn, void *context)
{
	if (walk->cpus)
		cpus_add(values, walk->value_size, walk->cpus, walk->sum);
	fn(key, walk->cpus ? walk->sum : values, context);
}

static void walk_advance(struct map_walk *walk)
{
	char *next = walk->next;

	walk->next = walk->position;
	walk->position = next;
	walk->has_position = true;
}

/*
 * The position is the key to hand on next. The one after it is known before `fn` is called, which
 * may delete the entry.
 */
static int step_one_by_one(struct map_walk *walk, map_entry_fn fn, void *context)
{
	int err = 0;

	if (!walk->steps_left--) {
		walk->steps_left = 0;
		return 0;
	}
	if (!walk->has_position) {
		err = bpf_map_get_next_key(walk->fd, NULL, walk->position);
		walk->has_position = true;
	}
	for (uint32_t i = 0; !err && i < walk->room; i++) {
		int err_lookup = bpf_map_lookup_elem(walk->fd, walk->position, walk->values);

		if (err_lookup && err_lookup != -ENOENT)
			return err_lookup;
		err = bpf_map_get_next_key(walk->fd, walk->position, walk->next);
		if (!err_lookup)
			walk_hand_on(walk, walk->position, walk->values, fn, context);
		walk_advance(walk);
	}
	if (err)
		return err == -ENOENT ? 0 : err;
	return 1;
}

int map_step(struct map_walk *walk, map_entry_fn fn, void *context)
{
	uint32_t count = walk->room;
	int err;

	if (walk->fd < 0) /* it could not start */
		return -EBADF;
	if (walk->has_no_batches)
		return step_one_by_one(walk, fn, context);
	err = bpf_map_lookup_batch(walk->fd, walk->has_position ? walk->position : NULL, walk->next,
				   walk->keys, walk->values, &count, NULL);
	if (err == -ENOSPC) { /* a bucket has more entries than fit */
		err = walk_make_room(walk, walk->room * 2);
		return err ? err : 1;
	}
	if (!walk->has_position && (err == -EINVAL || err == -ERRNO_ENOTSUPP)) {
		walk->has_no_batches = true;
		return 1;
	}
	if (err && err != -ENOENT)
		return err;
	walk_advance(walk);
	for (uint32_t i = 0; i < count; i++)
		walk_hand_on(walk, walk->keys + (size_t)i * walk->key_size,
			     walk->values + i * walk->stride, fn, context);
	return err ? 0 : 1;
}

int map_each(int fd, map_entry_fn fn, void *context)
{
	auto_cleanup(map_walk_fini) struct map_walk walk;
	int more = map_walk_init(&walk, fd);

	if (more)
		return more;
	do
		more = map_step(&walk, fn, context);
	while (more > 0);
	return more;
}

static void count_one(const void *key, const void *value, void *context)
{
	int64_t *count = context;

	(void)key;
	(void)value;
	(*count)++;
}

int64_t map_count(int fd)
{
	int64_t count = 0;
	int err = map_each(fd, count_one, &count);

	return err ? err : count;
}

struct map_deletion {
	int fd;
	map_key_fn is_wanted;
	const void *context;
	int err;
};

static void delete_if_unwanted(const void *key, const void *value, void *context)
{
	struct map_deletion *deletion = context;
	int err;

	(void)value;
	if (deletion->is_wanted(key, deletion->context))
		return;
	err = bpf_map_delete_elem(deletion->fd, key);
	if (err && err != -ENOENT && !deletion->err)
		deletion->err = err;
}

int map_keep_only(int fd, map_key_fn is_wanted, const void *context)
{
	struct map_deletion deletion = {.fd = fd, .is_wanted = is_wanted, .context = context};
	int err = map_each(fd, delete_if_unwanted, &deletion);

	return err ? err : deletion.err;
}
