/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The values of an array map, mapped piece by piece. The kernel populates every page of a mapping
 * at once, so a map that is mapped as a whole stays resident, although a change looks at a few
 * places only. Here the address range of the whole array is reserved, and a window of it is mapped
 * when an entry in it is needed; between two publishes few windows stay mapped.
 */

#include <stddef.h>
#include <stdint.h>

struct windows {
	char *base; /* address range of the whole array; unmapped parts must not be touched */
	size_t size;
	int map;
	unsigned int shift; /* a window is 1 << shift bytes */
	size_t mapped_count;
	uint8_t is_mapped[]; /* per window */
};

/*
 * Sets up windows for `count` values of `value_size` bytes of the map, whose descriptor is
 * borrowed. The caller frees with windows_free. Returns 0 or a negative errno, also where the map
 * cannot be mapped.
 */
int windows_new(int map, size_t count, size_t value_size, struct windows **ret_windows);

/* NULL is fine. */
void windows_free(struct windows *windows);

/*
 * Maps a window. On failure it logs and ends the process: the datapath keeps working, and the next
 * start repairs a change that was half done.
 */
void window_map(struct windows *windows, size_t window);

/* Unmaps all windows if more than a few are mapped; pointers into them become invalid then. */
void windows_trim(struct windows *windows);

/* Entry `index` of an array with values of `value_size` bytes; valid until windows_trim. */
static inline void *windows_at(struct windows *windows, uint32_t index, size_t value_size)
{
	size_t offset = index * value_size;
	size_t first = offset >> windows->shift, last = (offset + value_size - 1) >> windows->shift;

	if (!windows->is_mapped[first])
		window_map(windows, first);
	/* The entry may cross into the next window. */
	if (!windows->is_mapped[last])
		window_map(windows, last);
	return windows->base + offset;
}
