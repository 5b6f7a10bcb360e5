/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Trees of cJSON that live for a moment, one at a time: their nodes come from one arena that is used
 * again and again, which is twice as fast as thousands of small allocations. What does not fit
 * comes from the heap. For one thread.
 */

#include <cjson/cJSON.h>
#include <stddef.h>

/* The tree of `text`, to be given back with json_arena_release before the next; NULL: no JSON. */
cJSON *json_arena_parse(const char *text, size_t size);

/* NULL is fine. */
void json_arena_release(cJSON *tree);
