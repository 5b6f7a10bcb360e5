/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Names for one line of the log: "--a, --b, --c". */

#include <stddef.h>

struct name_list {
	size_t count;
	char text[1536]; /* "" without any; ends in "..." where it has no room for all */
};

/* Adds `prefix` and `name` as one word. */
void name_list_add(struct name_list *list, const char *prefix, const char *name);
