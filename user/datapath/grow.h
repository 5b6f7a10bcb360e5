/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Larger maps in place of pinned ones that have become too small: the same content, in the same
 * places.
 */

#include <stdbool.h>

/*
 * Copies a map into a larger one of the same kind, except for the counts of `address_flows`.
 * Returns 0 or a negative errno. Silent.
 */
int grow_copy(const char *map_name, int from, int to);

/*
 * Adds what one `address_flows` counts and expects to another, when no program counts in the first
 * one any more. Returns 0 or a negative errno. Silent.
 */
int grow_add_counts(int from, int to);
