/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Which maps of the datapath the explaining instance shares, and which are its own. */

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "cli/shown_maps.h"
#include "fairlead/config.h"

/*
 * Prepares an object before it is loaded: reuses the shared pinned maps, opened for reading, and
 * sets the sizes of the private ones. Without `with_addresses` the map `addresses` is private too.
 * Complains. Returns 0 or a negative errno.
 */
int tables_share(const struct shown_maps *maps, struct bpf_object *object, bool with_addresses);

/*
 * Copies the content of the private map that programs look up before they write to it: which
 * addresses and ports may have flows. Complains. Returns 0 or a negative errno.
 */
int tables_fill(const struct shown_maps *maps, const struct bpf_object *object);

/*
 * Reads the configuration of a loaded program. Returns 0 or a negative errno, if it is of another
 * version.
 */
int tables_read_config(int program, struct config *ret_config);

/* Clear a hash map, and a per-CPU array. */
void tables_empty(const struct bpf_map *map);
int tables_zero(const struct bpf_map *map);
