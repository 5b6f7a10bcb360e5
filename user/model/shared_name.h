/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Names that many objects share, those of nodes: each is stored once in the process, under a number
 * of 28 bits.
 */

#include <stdint.h>

#define SHARED_NAME_BITS 28

/* The number of the name; the caller releases it (shared_name_release). 0: no memory. */
uint32_t shared_name_acquire(const char *text);

/* The name of that number, or NULL for 0. Borrowed until it is released. */
const char *shared_name_text(uint32_t id);

/* Does nothing for 0. */
void shared_name_release(uint32_t id);
