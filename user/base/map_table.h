/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Lookup in the table of fairlead/maps.h. */

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

/* The map of this name; NULL: no pinned map has it. */
const struct map_entry *map_table_find(const char *name);

/* Also false for a map that is not pinned. */
bool map_has_trait(const char *name, enum map_trait trait);
