/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Arrays in memory that mmap provides: of our own, or those of array maps.
 *
 * An array of our own is as long as its map may become: zeroed, and backed by pages only where it
 * is written. calloc does not promise that: it may reuse memory, all of which it then writes.
 *
 * An array map is mapped as a whole. The kernel populates every page of the mapping at once, so the
 * whole map counts as resident (RssFile) in this process, however few of its entries are in use.
 * That memory exists once, allocated with the map; the mapping itself costs 8 bytes of page table
 * for each page, a 512th of the map.
 */

#include <stddef.h>

/* Returns NULL if there is no memory. The caller frees with mapped_array_free. */
void *mapped_array_new(size_t count, size_t size);

/*
 * Maps the first `count` values, of `size` bytes each, of an array map made with BPF_F_MMAPABLE.
 * `size` is a multiple of 8, the stride of the map's values. The descriptor is borrowed, and the
 * array stays valid after its close. Returns NULL with errno set where it cannot be mapped. The
 * caller frees with mapped_array_free.
 */
void *mapped_array_of(int map, size_t count, size_t size);

/* The same, for reading only. */
const void *mapped_array_view(int map, size_t count, size_t size);

/* Takes the same count and size as the call that made the array. NULL is fine. */
void mapped_array_free(const void *array, size_t count, size_t size);
