/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * uthash, told not to end the process where memory is short: an element that could not be added is
 * said by setting the caller's `bool no_memory`. Include this, not uthash.h.
 */

#include <stdbool.h>

#define HASH_NONFATAL_OOM            1
#define uthash_nonfatal_oom(element) (no_memory = true)
#include <uthash.h>
