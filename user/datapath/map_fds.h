/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Map descriptors that outlive their libbpf object, which holds the programs' instructions,
 * relocations and types: half a megabyte that is useless once everything is loaded.
 */

#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_FDS_MAX       48
#define MAP_FDS_NAME_SIZE 32

struct map_fds {
	struct {
		char name[MAP_FDS_NAME_SIZE];
		int fd;
		uint32_t entries; /* capacity */
	} maps[MAP_FDS_MAX];
	size_t count;
};

/* Returns a duplicate of the descriptor, which the caller owns, or a negative errno. Silent. */
int fd_duplicate(int fd);

/*
 * Duplicates the descriptors of a loaded object's maps whose names are not kept yet. libbpf's own
 * maps (.rodata) are left out. Returns 0 or a negative errno. Silent.
 */
int map_fds_add(struct map_fds *fds, const struct bpf_object *object);

/* The descriptor of the map of that name, borrowed; -1: there is none. */
int map_fds_find(const struct map_fds *fds, const char *name);

/* The capacity of the map of that name; 0: there is none. */
uint32_t map_fds_entries(const struct map_fds *fds, const char *name);

/*
 * Makes an object that is not loaded yet use the kept maps. Returns 0 or a negative errno. Silent.
 */
int map_fds_reuse(const struct map_fds *fds, struct bpf_object *object);

void map_fds_close(struct map_fds *fds);
