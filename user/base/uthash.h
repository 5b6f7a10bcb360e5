/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * uthash, configured not to end the process when memory is short: if an element could not be added,
 * the caller's `bool no_memory` becomes true. Include this, not uthash.h.
 */

#include <stdbool.h>

#define HASH_NONFATAL_OOM            1
#define uthash_nonfatal_oom(element) (no_memory = true)
#include <uthash.h>
