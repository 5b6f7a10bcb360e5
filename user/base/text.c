/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MORE      ", ..."
#define WORD_SIZE 64

/* Length of the UTF-8 character at `text`; 0: it is invalid or unsafe. */
static size_t utf8_length(const unsigned char *text)
{
	size_t len = *text < 0x80                    ? 1
		     : *text >= 0xc2 && *text < 0xe0 ? 2
		     : (*text & 0xf0) == 0xe0        ? 3
						     : 0;

	if (*text >= 0xf0 && *text < 0xf5)
		len = 4;
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	/* C1 controls, which terminals treat as escape sequences. */
	if (len == 2 && *text == 0xc2 && text[1] < 0xa0)
		return 0;
	return len;
}

void text_make_printable(char *text)
{
	while (*text) {
		size_t len = utf8_length((const unsigned char *)text);

		if (!len || (unsigned char)*text < ' ' || *text == '\177') {
			*text = '?';
			len = 1;
		}
		text += len;
	}
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
