/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

/*
 * Memory for arrays as long as a map may become: zeroed, and backed by pages only where it is
 * written. calloc does not promise that: it may reuse memory, all of which it then writes.
 * zeroed_array_free takes the same count and size; NULL is fine.
 */
void *zeroed_array_new(size_t count, size_t size);
void zeroed_array_free(void *array, size_t count, size_t size);
