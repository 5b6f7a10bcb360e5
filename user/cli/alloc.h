/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Memory for commands that read, print and exit: they have nothing to undo, so a failed allocation
 * prints an error and exits with EXIT_STATUS_NO_DATAPATH. The agent never calls these.
 */

#include <stddef.h>

/* Zeroed; never NULL. */
void *alloc_zeroed(size_t count, size_t size);

/* Grows an array of `count` items for one more; new room is not zeroed. Never NULL. */
void *alloc_one_more(void *items, size_t count, size_t *capacity, size_t size);

char *alloc_text(const char *text);
char *alloc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes cJSON allocate here too, so that a JSON tree is never incomplete. */
void alloc_for_json(void);
