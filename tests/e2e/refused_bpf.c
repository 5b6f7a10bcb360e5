/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * To be preloaded: the kernel has no memory for what the environment says.
 *   REFUSED_MAP, REFUSED_ENTRIES: maps of that name with more entries than that
 *   REFUSED_INFO: of the questions what a descriptor is, the one with that number
 * A limit of memory would hit the program itself as well, when and where depends on the kernel.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long number_of(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : 0;
}

static int is_refused(long command, const union bpf_attr *attr)
{
	static unsigned long questions;
	const char *map = getenv("REFUSED_MAP");

	if (command == BPF_OBJ_GET_INFO_BY_FD)
		return ++questions == number_of("REFUSED_INFO");
	return command == BPF_MAP_CREATE && map && !strcmp(attr->map_name, map) &&
	       attr->max_entries > number_of("REFUSED_ENTRIES");
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
