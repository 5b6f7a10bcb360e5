/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A list of names for one log line: "--a, --b, --c". */

#include <stddef.h>

struct name_list {
	size_t count;
	char text[1536]; /* "" if empty; ends in "..." if it is full */
};

/* Adds `prefix` and `name` as one word. */
void name_list_add(struct name_list *list, const char *prefix, const char *name);
