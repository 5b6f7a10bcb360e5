/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/room.h"

#include <sys/mman.h>

void *room_new(size_t count, size_t size)
{
	void *room = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return room == MAP_FAILED ? NULL : room;
}

void room_free(void *room, size_t count, size_t size)
{
	if (room)
		(void)munmap(room, count * size);
}
