/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mapped_array.h"

#include <sys/mman.h>

void *mapped_array_new(size_t count, size_t size)
{
	void *array = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return array == MAP_FAILED ? NULL : array;
}

void *mapped_array_of(int map, size_t count, size_t size)
{
	void *array = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	return array == MAP_FAILED ? NULL : array;
}

const void *mapped_array_view(int map, size_t count, size_t size)
{
	const void *array = mmap(NULL, count * size, PROT_READ, MAP_SHARED, map, 0);

	return array == MAP_FAILED ? NULL : array;
}

void mapped_array_free(const void *array, size_t count, size_t size)
{
	if (array)
		(void)munmap((void *)array, count * size);
}
