/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ledger's key of an object: the kind (one byte), then the namespace and the name, each ended
 * by NUL.
 */

#include <stddef.h>

#include "model/object.h"

#define KEY_SIZE (1 + 2 * (OBJECT_NAME_MAX + 1))

/* Returns the size of the key. */
size_t key_write(char key[KEY_SIZE], const struct object *object);

const char *key_namespace(const char *key);
const char *key_name(const char *key);
size_t key_len(const char *key);
