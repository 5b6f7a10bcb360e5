/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/map_table.h"

#include <string.h>

#define MAP_ENTRY(id, name, key, value, traits) [id] = {#name, sizeof(key), sizeof(value), traits},
const struct map_entry map_table[MAP_COUNT] = {FAIRLEAD_MAPS(MAP_ENTRY)};

const struct map_entry *map_table_find(const char *name)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (!strcmp(map_table[id].name, name))
			return &map_table[id];
	}
	return NULL;
}

bool map_has_trait(const char *name, enum map_trait trait)
{
	const struct map_entry *entry = map_table_find(name);

	return entry && entry->traits & trait;
}
