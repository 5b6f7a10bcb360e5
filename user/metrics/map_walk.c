/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/map_walk.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define STEP_ENTRIES   1024
#define ERRNO_ENOTSUPP 524 /* kernel-internal, not in the UAPI headers */

/* Allocates room for the entries of one step. */
static int room_make(struct map_walk *walk, __u32 room)
{
	free(take_ptr(walk->keys));
	free(take_ptr(walk->values));
	walk->room = room;
	walk->keys = calloc(room, walk->key_size);
	walk->values = calloc(room, walk->value_size);
	return walk->keys && walk->values ? 0 : -ENOMEM;
}

int map_walk_init(struct map_walk *walk, int fd)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	size_t position_size;

	*walk = (struct map_walk){.fd = -1};
	if (bpf_obj_get_info_by_fd(fd, &info, &info_size))
		return -errno;
	walk->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (walk->fd < 0)
		return -errno;
	walk->key_size = info.key_size;
	walk->value_size = info.value_size;
	/*
	 * Bounds the walk: without batches the kernel starts over when the entry at the position is
	 * deleted.
	 */
	walk->steps_left = 2ULL * info.max_entries / STEP_ENTRIES + 2;
	/* The position is the number of a bucket (in batches) or a key. */
	position_size = info.key_size > sizeof(__u32) ? info.key_size : sizeof(__u32);
	walk->position = calloc(1, position_size);
	walk->next = calloc(1, position_size);
	if (!walk->position || !walk->next)
		return -ENOMEM;
	return room_make(walk, STEP_ENTRIES);
}

void map_walk_fini(struct map_walk *walk)
{
	cleanup_fd(&walk->fd);
	free(walk->position);
	free(walk->next);
	free(walk->keys);
	free(walk->values);
	*walk = (struct map_walk){.fd = -1};
}

static void hand_on(const struct map_walk *walk, __u32 count, map_walk_fn fn, void *context)
{
	for (__u32 i = 0; i < count; i++)
		fn(walk->keys + (size_t)i * walk->key_size,
		   walk->values + (size_t)i * walk->value_size, context);
}

static int step_one_by_one(struct map_walk *walk, map_walk_fn fn, void *context)
{
	for (__u32 i = 0; i < walk->room; i++) {
		int err = bpf_map_get_next_key(walk->fd, walk->has_position ? walk->position : NULL,
					       walk->next);

		if (err)
			return err == -ENOENT ? 0 : err;
		memcpy(walk->position, walk->next, walk->key_size);
		walk->has_position = true;
		if (!bpf_map_lookup_elem(walk->fd, walk->position, walk->values))
			fn(walk->position, walk->values, context);
	}
	return 1;
}

static int step_batch(struct map_walk *walk, map_walk_fn fn, void *context)
{
	__u32 count = walk->room;
	int err = bpf_map_lookup_batch(walk->fd, walk->has_position ? walk->position : NULL,
				       walk->next, walk->keys, walk->values, &count, NULL);
	char *next;

	if (err == -ENOSPC) /* a bucket has more entries than fit */
		err = room_make(walk, walk->room * 2);
	else if (!walk->has_position && (err == -EINVAL || err == -ERRNO_ENOTSUPP))
		walk->has_no_batches = true;
	else if (err && err != -ENOENT)
		return err;
	else {
		hand_on(walk, count, fn, context);
		if (err)
			return 0;
		next = walk->next;
		walk->next = walk->position;
		walk->position = next;
		walk->has_position = true;
	}
	return walk->has_no_batches || !err ? 1 : err;
}

int map_walk_step(struct map_walk *walk, map_walk_fn fn, void *context)
{
	if (!walk->steps_left--) {
		walk->steps_left = 0;
		return 0;
	}
	return walk->has_no_batches ? step_one_by_one(walk, fn, context)
				    : step_batch(walk, fn, context);
}

int map_walk_all(int fd, map_walk_fn fn, void *context)
{
	auto_cleanup(map_walk_fini) struct map_walk walk;
	int err = map_walk_init(&walk, fd);

	if (err)
		return err;
	do
		err = map_walk_step(&walk, fn, context);
	while (err > 0);
	return err;
}

uint32_t map_limit(int fd)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &info_size) ? 0 : info.max_entries;
}
