/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The table of fairlead/maps.h, to look up. */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/maps.h"

struct map_entry {
	const char *name;
	size_t key_size;
	size_t value_size;
	unsigned int traits; /* enum map_trait */
};

extern const struct map_entry map_table[MAP_COUNT];

/* The map of this name, or NULL: it is none that is pinned. */
const struct map_entry *map_table_find(const char *name);

/* False for a map that is not pinned, too. */
bool map_has_trait(const char *name, enum map_trait trait);
