/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/sockets/process_sockets.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A socket's entry in /proc/PID/fd is a symbolic link to "socket:[INODE]". */
static bool entry_is_socket(int dir, const char *name, ino_t *ret_inode)
{
	char target[64];
	ssize_t len = readlinkat(dir, name, target, sizeof(target) - 1);
	unsigned long long inode;

	if (len <= 0)
		return false;
	target[len] = '\0';
	if (sscanf(target, "socket:[%llu]", &inode) != 1)
		return false;
	*ret_inode = (ino_t)inode;
	return true;
}

static int socket_visit(const struct process_sockets *visitor, int process, int number, ino_t inode)
{
	auto_cleanup(cleanup_fd) int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);

	if (fd < 0)
		return errno == EPERM ? -EPERM : 0;
	visitor->visit(visitor->context, inode, fd);
	return 0;
}

static int process_visit(const struct process_sockets *visitor, const bool *is_done, pid_t pid)
{
	auto_cleanup(cleanup_dir) DIR *entries = NULL;
	auto_cleanup(cleanup_fd) int process = -1;
	const struct dirent *entry;
	int first_err = 0;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	entries = opendir(path);
	if (!entries)
		return errno == EACCES || errno == EPERM ? -EPERM : 0;
	while (!*is_done && (entry = readdir(entries))) {
		ino_t inode;
		int err;

		if (!entry_is_socket(dirfd(entries), entry->d_name, &inode) ||
		    !visitor->is_wanted(visitor->context, inode))
			continue;
		if (process < 0)
			process = (int)syscall(SYS_pidfd_open, pid, 0);
		if (process < 0)
			return first_err;
		err = socket_visit(visitor, process, (int)strtol(entry->d_name, NULL, 10), inode);
		if (!first_err)
			first_err = err;
	}
	return first_err;
}

int process_sockets_visit(const struct process_sockets *visitor, const bool *is_done)
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir("/proc");
	const struct dirent *entry;
	int first_err = 0;

	if (!entries)
		return -errno;
	while (!*is_done && (entry = readdir(entries))) {
		int err;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		err = process_visit(visitor, is_done, (pid_t)strtol(entry->d_name, NULL, 10));
		if (!first_err)
			first_err = err;
	}
	return first_err;
}
