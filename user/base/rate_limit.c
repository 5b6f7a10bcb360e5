/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/rate_limit.h"

#include <string.h>

static bool entry_has_key(const struct rate_limit_entry *entry, const void *key, size_t size)
{
	static const unsigned char zeros[RATE_LIMIT_KEY_SIZE];

	return !memcmp(entry->key, key, size) &&
	       !memcmp(entry->key + size, zeros, RATE_LIMIT_KEY_SIZE - size);
}

static bool entry_is_free(const struct rate_limit_entry *entry)
{
	return entry_has_key(entry, "", 0);
}

struct rate_limit_entry *rate_limit_find(struct rate_limit_entry *entries, size_t count,
					 const void *key, size_t size)
{
	struct rate_limit_entry *oldest = entries;

	for (size_t i = 0; i < count; i++) {
		/* Entries are assigned in order and never freed: all after a free one are free. */
		if (entry_has_key(&entries[i], key, size) || entry_is_free(&entries[i]))
			return &entries[i];
		if (entries[i].logged_ns < oldest->logged_ns)
			oldest = &entries[i];
	}
	return oldest;
}

void rate_limit_assign(struct rate_limit_entry *entry, const void *key, size_t size)
{
	if (entry_has_key(entry, key, size))
		return;
	*entry = (struct rate_limit_entry){};
	memcpy(entry->key, key, size);
}

bool rate_limit_is_recent(const struct rate_limit_entry *entry, uint64_t now_ns)
{
	return entry->logged_ns && now_ns - entry->logged_ns < RATE_LIMIT_NS;
}

bool rate_limit_allows(struct rate_limit_entry *entries, size_t count, const void *key, size_t size,
		       uint64_t now_ns)
{
	struct rate_limit_entry *entry = rate_limit_find(entries, count, key, size);

	if (rate_limit_is_recent(entry, now_ns))
		return false;
	rate_limit_assign(entry, key, size);
	entry->logged_ns = now_ns;
	return true;
}
