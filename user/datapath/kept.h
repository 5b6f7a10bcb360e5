/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Descriptors that outlive a libbpf object: it holds the programs' instructions, relocations and
 * types, half a megabyte that nobody asks for once everything is loaded.
 */

#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>

#define KEPT_MAPS_MAX  48
#define KEPT_NAME_SIZE 32

struct kept_maps {
	struct {
		char name[KEPT_NAME_SIZE];
		int fd;
		uint32_t entries; /* at most */
	} maps[KEPT_MAPS_MAX];
	size_t count;
};

/* A descriptor of one's own for another; negative errno. Silent. */
int kept_descriptor(int fd);

/*
 * Keeps the maps of a loaded object that are not kept yet, by name. libbpf's own maps (.rodata) are
 * left out. Returns 0 or a negative errno. Silent.
 */
int kept_maps_add(struct kept_maps *kept, const struct bpf_object *object);

/* Borrowed; -1: there is none of that name. */
int kept_maps_fd(const struct kept_maps *kept, const char *name);

/* 0: there is none of that name. */
uint32_t kept_maps_entries(const struct kept_maps *kept, const char *name);

/*
 * Lets an object that is not loaded yet use the kept maps as its own. Returns 0 or a negative
 * errno.
 */
int kept_maps_reuse(const struct kept_maps *kept, struct bpf_object *object);

void kept_maps_close(struct kept_maps *kept);
