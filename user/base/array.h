/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Arrays that grow. */

#include <stddef.h>

/*
 * Makes room for one more item in an array of `count` items. `items` points to the pointer to them,
 * which is NULL at first, `room` to the number of items that there is room for; `size` is that of
 * an item. Returns 0, or -ENOMEM: the array is as it was.
 */
int array_reserve(void *items, size_t *room, size_t count, size_t size);
