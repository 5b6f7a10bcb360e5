/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 64

int array_reserve(void *items, size_t *room, size_t count, size_t size)
{
	const size_t wanted = *room ? 2 * *room : ROOM_FIRST;
	void *old, *grown;

	if (count < *room)
		return 0;
	memcpy(&old, items, sizeof(old));
	grown = reallocarray(old, wanted, size);
	if (!grown)
		return -ENOMEM;
	memcpy(items, &grown, sizeof(grown));
	*room = wanted;
	return 0;
}
