/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/alloc.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void *alloc_check(void *ptr)
{
	if (ptr)
		return ptr;
	complain("no memory left to read the maps into");
	exit(EXIT_STATUS_NO_DATAPATH);
}

void *alloc_zeroed(size_t count, size_t size)
{
	return alloc_check(calloc(count ? count : 1, size));
}

void *alloc_one_more(void *items, size_t count, size_t *capacity, size_t size)
{
	size_t room = *capacity ? *capacity * 2 : 16;

	if (count < *capacity)
		return items;
	*capacity = room;
	return alloc_check(reallocarray(items, room, size));
}

char *alloc_text(const char *text)
{
	return alloc_check(strdup(text));
}

char *alloc_format(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return alloc_check(len < 0 ? NULL : text);
}

static void *alloc_for_json_malloc(size_t size)
{
	return alloc_check(malloc(size));
}

void alloc_for_json(void)
{
	cJSON_Hooks hooks = {.malloc_fn = alloc_for_json_malloc, .free_fn = free};

	cJSON_InitHooks(&hooks);
}
