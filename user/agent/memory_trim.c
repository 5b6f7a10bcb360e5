/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/memory_trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Read-only segments only contain what is in their file, so their pages can be dropped; the
 * loader's relocations are in writable segments.
 */
static int segments_forget(struct dl_phdr_info *info, size_t size, void *context)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)context;
	/* The vDSO belongs to the kernel and has no file. */
	if (!strncmp(info->dlpi_name, "linux-", strlen("linux-")))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
		uintptr_t end = begin + segment->p_filesz;

		if (segment->p_type != PT_LOAD || segment->p_flags & PF_W)
			continue;
		begin = (begin + page - 1) & ~(page - 1);
		end &= ~(page - 1);
		if (begin < end)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void memory_trim(void)
{
	(void)malloc_trim(0);
	(void)dl_iterate_phdr(segments_forget, NULL);
}
