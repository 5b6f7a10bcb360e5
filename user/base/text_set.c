/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text_set.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/uthash.h"

struct text_set_entry {
	UT_hash_handle hh;
	const char *text;
};

int text_set_add(struct text_set *set, const char *text)
{
	struct text_set_entry *entry;
	bool no_memory = false;

	HASH_FIND(hh, set->entries, text, strlen(text), entry);
	if (entry)
		return -EEXIST;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->text = text;
	HASH_ADD_KEYPTR(hh, set->entries, entry->text, strlen(text), entry);
	if (!no_memory)
		return 0;
	free(entry);
	return -ENOMEM;
}

void text_set_fini(struct text_set *set)
{
	struct text_set_entry *entry, *next;

	HASH_ITER (hh, set->entries, entry, next) {
		HASH_DEL(set->entries, entry);
		free(entry);
	}
}
