/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/windows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define WINDOW_SHIFT_MIN 14   /* 16 KiB: two microseconds to map */
#define WINDOWS_MAX      1024 /* per array: the number of mappings of a process is limited */
#define WINDOWS_KEPT     16

static size_t window_count(const struct windows *windows)
{
	return (windows->size + (1UL << windows->shift) - 1) >> windows->shift;
}

/*
 * Reserves addresses without memory behind them, replacing what is mapped at `where`, if not NULL.
 */
static void *addresses_reserve(void *where, size_t size)
{
	return mmap(where, size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (where ? MAP_FIXED : 0), -1, 0);
}

static int window_try(struct windows *windows, size_t window)
{
	size_t offset = window << windows->shift, size = 1UL << windows->shift;

	if (size > windows->size - offset)
		size = windows->size - offset;
	if (mmap(windows->base + offset, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 windows->map, (off_t)offset) == MAP_FAILED)
		return -errno;
	windows->is_mapped[window] = 1;
	windows->mapped_count++;
	return 0;
}

static void windows_freep(struct windows **windows)
{
	windows_free(*windows);
}

int windows_new(int map, size_t count, size_t value_size, struct windows **ret_windows)
{
	auto_cleanup(windows_freep) struct windows *windows =
		calloc(1, sizeof(*windows) + WINDOWS_MAX);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int err;

	if (!windows)
		return -ENOMEM;
	windows->map = map;
	windows->size = (count * value_size + page - 1) / page * page;
	windows->shift = WINDOW_SHIFT_MIN;
	while (1UL << windows->shift < page || window_count(windows) > WINDOWS_MAX)
		windows->shift++;
	windows->base = addresses_reserve(NULL, windows->size);
	if (windows->base == MAP_FAILED) {
		windows->base = NULL;
		return -errno;
	}
	err = window_try(windows, 0);
	if (err)
		return err;
	*ret_windows = take_ptr(windows);
	return 0;
}

void windows_free(struct windows *windows)
{
	if (windows && windows->base)
		(void)munmap(windows->base, windows->size);
	free(windows);
}

void window_map(struct windows *windows, size_t window)
{
	int err = window_try(windows, window);

	if (!err)
		return;
	(void)log_err(err, "cannot map a part of a map of the datapath: the agent ends, start it "
			   "again");
	exit(EXIT_FAILURE);
}

void windows_trim(struct windows *windows)
{
	if (windows->mapped_count <= WINDOWS_KEPT ||
	    addresses_reserve(windows->base, windows->size) == MAP_FAILED)
		return;
	memset(windows->is_mapped, 0, window_count(windows));
	windows->mapped_count = 0;
}
