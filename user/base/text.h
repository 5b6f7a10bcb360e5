/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Text for a line of a log or a terminal. */

#include <stddef.h>
#include <stdint.h>

/*
 * The length of the UTF-8 character that the `size` bytes at `at` begin with; 0: it is cut off,
 * overlong, a surrogate or no character at all.
 */
size_t utf8_length(const char *at, size_t size);

/*
 * Makes text from maps safe for a terminal, in place: control characters and bytes that are not
 * UTF-8 become '?'. A link's name may contain any of them.
 */
void text_make_printable(char *text);

/*
 * Copies the text of a fixed array of a map, which may lack its terminator and hold any bytes,
 * makes the copy printable and returns it.
 */
#define text_of_array(array, buf) text_copy(array, sizeof(array), buf, sizeof(buf))
const char *text_copy(const char *from, size_t from_size, char *buf, size_t size);

/* Makes text from elsewhere fit for a log line, in place: all but printable ASCII becomes '?'. */
void text_make_plain(char *text);

/* A list of names for one log line: "--a, --b, --c". */
struct name_list {
	size_t count;
	char text[1536]; /* "" if empty; ends in "..." if it is full */
};

/* Adds `prefix` and `name` as one word. */
void name_list_add(struct name_list *list, const char *prefix, const char *name);

/*
 * FNV-1a, 64 bits, of `size` bytes. Where fairlead chooses ClusterIPs they follow from it: another
 * hash would move them.
 */
uint64_t text_hash(const char *text, size_t size);

/*
 * How many letters to insert, remove, replace or swap with their neighbour make one word the other;
 * upper and lower case are equal. UINT_MAX for words of more than 63 letters.
 */
unsigned int text_distance(const char *a, const char *b);
