/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Memory for commands that read, print and end: with nothing to undo, one that gets none says so
 * and exits with EXIT_STATUS_NO_DATAPATH. The agent never calls these.
 */

#include <stddef.h>

/* Zeroed; never NULL. */
void *alloc_zeroed(size_t count, size_t size);

/* Makes room for one more item behind `count` of them; new room is not zeroed. Never NULL. */
void *alloc_one_more(void *items, size_t count, size_t *capacity, size_t size);

char *alloc_text(const char *text);
char *alloc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* cJSON's memory comes from here as well, so that what it builds is never half there. */
void alloc_for_json(void);
