/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * To be preloaded by an agent: the kernel has no memory for maps called NO_MEMORY_MAP with more than
 * NO_MEMORY_ENTRIES entries. A limit of memory would hit the agent itself as well, and when it does
 * depends on the kernel.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_refused(long command, const union bpf_attr *attr)
{
	const char *name = getenv("NO_MEMORY_MAP"), *entries = getenv("NO_MEMORY_ENTRIES");

	return command == BPF_MAP_CREATE && name && entries && !strcmp(attr->map_name, name) &&
	       attr->max_entries > strtoul(entries, NULL, 10);
}

long syscall(long number, ...)
{
	long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	long arguments[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_bpf && is_refused(arguments[0], (const union bpf_attr *)arguments[1])) {
		errno = ENOMEM;
		return -1;
	}
	return next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		    arguments[5]);
}
