/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Map descriptors that outlive their libbpf object, which holds the programs' instructions,
 * relocations and types: half a megabyte that is useless once everything is loaded.
 */

#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/maps.h"

#define MAP_FDS_UNPINNED_MAX 8

struct map_fds {
	struct {
		int fd;           /* -1: not loaded */
		uint32_t entries; /* capacity */
	} maps[MAP_COUNT];
	/* Maps without a pin, which programs that are loaded one after the other share. */
	struct {
		char name[BPF_OBJ_NAME_LEN];
		int fd;
	} unpinned[MAP_FDS_UNPINNED_MAX];
	size_t unpinned_count;
};

/* Returns a duplicate of the descriptor, which the caller owns, or a negative errno. Silent. */
int fd_duplicate(int fd);

void map_fds_init(struct map_fds *fds);

/*
 * Duplicates the descriptors of a loaded object's maps that are not kept yet. libbpf's own maps
 * (.rodata) are left out. Returns 0 or a negative errno. Silent.
 */
int map_fds_add(struct map_fds *fds, const struct bpf_object *object);

/*
 * Makes an object that is not loaded yet use the kept maps. Returns 0 or a negative errno. Silent.
 */
int map_fds_reuse(const struct map_fds *fds, struct bpf_object *object);

void map_fds_close(struct map_fds *fds);
