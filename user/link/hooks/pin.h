/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* BPF links that are kept by a pin alone. */

#include <limits.h>
#include <stdbool.h>

/* Writes DIR/NAME into `path`. Returns 0 or -ENAMETOOLONG. Silent. */
int pin_path(char path[PATH_MAX], const char *dir, const char *name);

/*
 * Detaches the link that is pinned at `path` and removes the pin. To remove the pin alone is not
 * enough: the kernel then detaches in its own time. Returns 0, also where nothing is there, or a
 * negative errno. Silent.
 */
int pin_remove(const char *path);

/*
 * Does that for each pin of `dir` whose name begins with `prefix` and that `keep` (NULL: none) does
 * not ask for. A directory that does not exist has none. Returns 0 or the first error. Logs.
 */
int pins_remove(const char *dir, const char *prefix, bool (*keep)(void *context, const char *name),
		void *context);
