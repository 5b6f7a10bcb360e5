/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MORE      ", ..."
#define WORD_SIZE 64

size_t utf8_length(const char *at, size_t size)
{
	const unsigned char *bytes = (const unsigned char *)at;
	size_t length = !size             ? 0
			: bytes[0] < 0x80 ? 1
			: bytes[0] < 0xe0 ? 2
			: bytes[0] < 0xf0 ? 3
					  : 4;

	if (length > size || (length > 1 && (bytes[0] < 0xc2 || bytes[0] > 0xf4)))
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	}
	if (length > 2 &&
	    ((bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] > 0x9f) ||
	     (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] > 0x8f)))
		return 0;
	return length;
}

void text_make_printable(char *text)
{
	for (size_t left = strlen(text), length; left; text += length, left -= length) {
		/* C1 controls, U+0080 to U+009F, are escape sequences to terminals. */
		bool is_c1 = text[0] == '\xc2' && (unsigned char)text[1] < 0xa0;

		length = utf8_length(text, left);
		if (!length || is_c1 || (unsigned char)*text < ' ' || *text == '\177') {
			*text = '?';
			length = 1;
		}
	}
}

const char *text_copy(const char *from, size_t from_size, char *buf, size_t size)
{
	size_t len = strnlen(from, from_size);

	if (len >= size)
		len = size - 1;
	memcpy(buf, from, len);
	buf[len] = '\0';
	text_make_printable(buf);
	return buf;
}

void text_make_plain(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

void name_list_add(struct name_list *list, const char *prefix, const char *name)
{
	const char *comma = list->count ? ", " : "";
	size_t used = strlen(list->text);
	size_t needed = strlen(comma) + strlen(prefix) + strlen(name);
	size_t room = sizeof(list->text) - used;

	list->count++;
	if (needed + sizeof(MORE) <= room)
		(void)snprintf(list->text + used, room, "%s%s%s", comma, prefix, name);
	else if (used < strlen(MORE) || strcmp(list->text + used - strlen(MORE), MORE) != 0)
		(void)snprintf(list->text + used, room, MORE);
}

uint64_t text_hash(const char *text, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ULL;
	return hash;
}

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/* The optimal string alignment distance; `rows` are those of the latest three letters of `a`. */
unsigned int text_distance(const char *a, const char *b)
{
	unsigned int rows[3][WORD_SIZE];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len >= WORD_SIZE || b_len >= WORD_SIZE)
		return UINT_MAX;
	for (unsigned int j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (unsigned int i = 1; i <= a_len; i++) {
		unsigned int *row = rows[i % 3];
		const unsigned int *above = rows[(i + 2) % 3];
		const unsigned int *second = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			bool is_same = tolower((unsigned char)a[i - 1]) ==
				       tolower((unsigned char)b[j - 1]);
			bool is_swapped = i > 1 && j > 1 &&
					  tolower((unsigned char)a[i - 1]) ==
						  tolower((unsigned char)b[j - 2]) &&
					  tolower((unsigned char)a[i - 2]) ==
						  tolower((unsigned char)b[j - 1]);

			row[j] = least(least(row[j - 1], above[j]) + 1, above[j - 1] + !is_same);
			if (is_swapped)
				row[j] = least(row[j], second[j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}
