/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/name_list.h"

#include <stdio.h>
#include <string.h>

#define MORE ", ..."

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
