/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The values of an array map, mapped piece by piece. The kernel fills in every page of a mapping at
 * once, so a whole array is resident as long as it is mapped, although a change looks at a few
 * places only. Here the whole array has its addresses from the start, and a window of it is mapped
 * when somebody wants an entry; between two publishes few windows stay.
 */

#include <stddef.h>
#include <stdint.h>

struct windows {
	char *base; /* addresses for the whole array; what is not mapped cannot be touched */
	size_t size;
	int map;
	unsigned int shift; /* a window is 1 << shift bytes */
	size_t mapped_count;
	uint8_t is_mapped[]; /* by window */
};

/*
 * For `count` values of `value_size` bytes of the map, whose descriptor is borrowed. The caller
 * frees with windows_free. Returns 0 or a negative errno, also where the map cannot be mapped.
 */
int windows_new(int map, size_t count, size_t value_size, struct windows **ret_windows);

/* NULL is fine. */
void windows_free(struct windows *windows);

/*
 * Maps a window. A kernel that has no memory for it ends the process, with a message: the datapath
 * goes on, and the next start puts right what was half done.
 */
void window_map(struct windows *windows, size_t window);

/* Forgets the windows if there are more than a few: pointers into them are no longer valid. */
void windows_trim(struct windows *windows);

/* Entry `index` of values that are `value_size` bytes long; valid until windows_trim. */
static inline void *windows_at(struct windows *windows, uint32_t index, size_t value_size)
{
	size_t offset = index * value_size;
	size_t first = offset >> windows->shift, last = (offset + value_size - 1) >> windows->shift;

	if (!windows->is_mapped[first])
		window_map(windows, first);
	/* One that lies across the border of two. */
	if (!windows->is_mapped[last])
		window_map(windows, last);
	return windows->base + offset;
}
