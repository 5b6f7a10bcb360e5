/* SPDX-License-Identifier: BSD-2-Clause */
#include "source/ledger_key.h"

#include <string.h>

size_t key_write(char key[KEY_SIZE], const struct object *object)
{
	size_t namespace_size = strlen(object->namespace_) + 1;
	size_t name_size = strlen(object->name) + 1;

	key[0] = (char)object->kind;
	memcpy(key + 1, object->namespace_, namespace_size);
	memcpy(key + 1 + namespace_size, object->name, name_size);
	return 1 + namespace_size + name_size;
}

const char *key_namespace(const char *key)
{
	return key + 1;
}

const char *key_name(const char *key)
{
	return key + 1 + strlen(key + 1) + 1;
}

size_t key_len(const char *key)
{
	const char *name = key_name(key);

	return (size_t)(name - key) + strlen(name) + 1;
}
