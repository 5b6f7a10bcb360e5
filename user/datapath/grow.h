/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Copies the content of pinned maps that have become too small into larger ones, entry by entry, at
 * the same keys, and the counters of another version into those of this one.
 */

#include <stdint.h>

#include "fairlead/maps.h"

/*
 * Copies a map that may grow (MAP_GROWS) into a larger one of the same kind, except for the counts
 * of `address_flows`; or MAP_COUNTERS into one with the value struct counters. Returns 0 or a
 * negative errno. Silent.
 */
int grow_copy(enum map_id id, int from, int to);

/*
 * Has programs believe for an hour that each of the first `count` addresses may have flows that
 * have just opened: which ones have is not known. Returns 0 or a negative errno. Silent.
 */
int grow_expect_flows(int address_flows, uint32_t count);

/*
 * Carries over what programs wrote to the smaller map after it was copied: the counts of
 * `address_flows`, with how long FLOW_DIRECT flows may exist, and the backends that clients had
 * last. To be called when no program uses that map any more. Returns 0 or a negative errno. Silent.
 */
int grow_catch_up(enum map_id id, int from, int to);
