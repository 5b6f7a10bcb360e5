/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Larger maps in place of pinned ones that have become too small: the same content, in the same
 * places.
 */

#include <stdbool.h>

/* True for maps whose content can be copied; flow tables keep their size until a cleanup. */
bool grow_is_possible(const char *map_name);

/* Copies a map into a larger one of the same kind. Returns 0 or a negative errno. Silent. */
int grow_copy(const char *map_name, int from, int to);

/*
 * Counts the confirmed flows of each address anew: programs counted in the old map while it was
 * copied. Failing is survived: a count that is too high keeps an address known for longer. Logs.
 */
void grow_recount(int flows, int addresses, int address_flows);
