/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

/*
 * Room for arrays as long as a map may become: zeroed, and memory only where it is written to.
 * malloc does not promise that: it may hand out what was in use before, and then it writes all of
 * it.
 */
void *room_new(size_t count, size_t size);
void room_free(void *room, size_t count, size_t size);
