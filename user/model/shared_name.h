/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Names that many objects share, those of nodes: each is stored once in the process, under a number
 * of 28 bits.
 */

#include <stdint.h>

#define NAME_ID_BITS 28

/* Returns the number of the name, which the caller gives back with name_drop; 0: no memory. */
uint32_t name_take(const char *text);

/* The name of that number, or NULL for 0. Borrowed until the name is given back. */
const char *name_text(uint32_t id);

/* Gives a name back; does nothing for 0. */
void name_drop(uint32_t id);
