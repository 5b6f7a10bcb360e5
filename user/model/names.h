/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Names that many objects have, of nodes: each is kept once in the process and called by a number
 * of 28 bits.
 */

#include <stdint.h>

#define NAME_ID_BITS 28

/* The number of the name, to be given back with name_drop. 0: no memory. */
uint32_t name_take(const char *text);

/* NULL for 0. Borrowed until the name is given back. */
const char *name_text(uint32_t id);

/* Does nothing for 0. */
void name_drop(uint32_t id);
