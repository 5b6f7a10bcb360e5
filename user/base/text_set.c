/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/uthash.h"

struct text_set_entry {
	UT_hash_handle hh;
	const char *text;
};

bool text_set_add(struct text_set *set, const char *text, int *ret_err)
{
	struct text_set_entry *entry;
	bool no_memory = false;

	*ret_err = 0;
	HASH_FIND(hh, set->entries, text, strlen(text), entry);
	if (entry)
		return false;
	entry = calloc(1, sizeof(*entry));
	if (entry) {
		entry->text = text;
		HASH_ADD_KEYPTR(hh, set->entries, entry->text, strlen(text), entry);
	}
	if (!entry || no_memory) {
		free(entry);
		*ret_err = -ENOMEM;
	}
	return !*ret_err;
}

void text_set_fini(struct text_set *set)
{
	struct text_set_entry *entry, *next;

	HASH_ITER (hh, set->entries, entry, next) {
		HASH_DEL(set->entries, entry);
		free(entry);
	}
}
