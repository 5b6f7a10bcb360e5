/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* BPF links that only their pins keep alive. */

#include <limits.h>
#include <stdbool.h>

/* Writes DIR/NAME into `path`. Returns 0 or -ENAMETOOLONG. Silent. */
int pin_path(char path[PATH_MAX], const char *dir, const char *name);

/*
 * Detaches the link that is pinned at `path` and removes the pin. Removing the pin alone is not
 * enough: the kernel would then detach the program later, at a time of its own. Returns 0, also if
 * there is no pin, or a negative errno. Silent.
 */
int pin_remove(const char *path);

/*
 * Calls pin_remove() for each pin in `dir` whose name begins with `prefix`, except those for which
 * `keep` returns true (NULL: removes all). A missing directory counts as empty. Returns 0 or the
 * first error. Logs.
 */
int pins_remove(const char *dir, const char *prefix, bool (*keep)(void *context, const char *name),
		void *context);
