/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Descriptors that outlive a libbpf object: it holds the programs' instructions, relocations and
 * types, half a megabyte that nobody asks for once everything is loaded.
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
		uint32_t entries; /* at most */
	} maps[MAP_FDS_MAX];
	size_t count;
};

/* A descriptor of one's own for another; negative errno. Silent. */
int fd_duplicate(int fd);

/*
 * Keeps the maps of a loaded object that are not kept yet, by name. libbpf's own maps (.rodata) are
 * left out. Returns 0 or a negative errno. Silent.
 */
int map_fds_add(struct map_fds *kept, const struct bpf_object *object);

/* Borrowed; -1: there is none of that name. */
int map_fds_find(const struct map_fds *kept, const char *name);

/* 0: there is none of that name. */
uint32_t map_fds_entries(const struct map_fds *kept, const char *name);

/*
 * Lets an object that is not loaded yet use the kept maps as its own. Returns 0 or a negative
 * errno.
 */
int map_fds_reuse(const struct map_fds *kept, struct bpf_object *object);

void map_fds_close(struct map_fds *kept);
