/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the ledger finds objects by: the kind, the namespace and the name, each ended by 0. */

#include <stddef.h>

#include "model/object.h"

#define KEY_SIZE (1 + 2 * (OBJECT_NAME_MAX + 1))

/* Returns how much of the key is used. */
size_t key_write(char key[KEY_SIZE], const struct object *object);

const char *key_namespace(const char *key);
const char *key_name(const char *key);
size_t key_len(const char *key);
