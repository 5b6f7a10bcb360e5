/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

/*
 * Room for arrays as long as a map may become: zeroed, and memory only where it is written to.
 * malloc does not promise that: it may hand out what was in use before, and then it writes all of
 * it.
 */
void *zeroed_array_new(size_t count, size_t size);
void zeroed_array_free(void *array, size_t count, size_t size);
