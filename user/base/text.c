/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define MORE ", ..."

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
