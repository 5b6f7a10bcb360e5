/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Which tables of the datapath the instance that explains shares, and which are its own. */

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "cli/maps.h"
#include "fairlead/config.h"

/* Programs only look things up in it: it may be shared. All others are private. */
bool table_is_shared(const char *name);

/*
 * Gives an object that is not loaded yet the pinned tables that are shared, opened for reading, and
 * sizes to the others; `addresses` may be made private. Complains. Returns 0 or a negative errno.
 */
int tables_share(const struct maps *maps, struct bpf_object *object, bool with_addresses);

/*
 * Of the tables that programs write to, some are asked first: which addresses and ports may have
 * flows. Their content is copied. Complains. Returns 0 or a negative errno.
 */
int tables_fill(const struct maps *maps, const struct bpf_object *object);

/* How a loaded program is configured. Returns 0, or a negative errno: it is of another version. */
int tables_read_config(int program, struct config *ret_config);

/* Clear a hash, and a per-CPU array. */
void tables_empty(const struct bpf_map *map);
int tables_zero(const struct bpf_map *map);
