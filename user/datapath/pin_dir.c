/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/pin_dir.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define BPFFS_ROOT            "/sys/fs/bpf"
#define PID_NAMESPACE_INITIAL 0xEFFFFFFCU /* its inode, of the kernel's ABI */

static int directory_make(const char *path)
{
	char partial[PATH_MAX];

	if (strlen(path) >= sizeof(partial))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= strlen(path); i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(partial, path, i);
		partial[i] = '\0';
		if (mkdir(partial, 0700) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static bool is_below(const char *path, const char *root)
{
	size_t len = strlen(root);

	return !strncmp(path, root, len) && (path[len] == '/' || path[len] == '\0');
}

static bool pid_namespace_is_initial(void)
{
	struct stat status;

	return !stat("/proc/self/ns/pid", &status) && status.st_ino == PID_NAMESPACE_INITIAL;
}

/*
 * Finds a mount of the file system with this device, see proc_pid_mountinfo(5). Returns whether
 * there is one; `only_shared`: one that other mount namespaces have as well. True if the file
 * cannot be read: then nobody can tell.
 */
static bool mount_is_in(const char *mountinfo, dev_t device, bool only_shared)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(mountinfo, "re");
	auto_cleanup(cleanup_free) char *line = NULL;
	size_t size = 0;

	if (!file)
		return true;
	while (getline(&line, &size, file) > 0) {
		const char *end = strstr(line, " - "); /* of the optional fields */
		const char *shared = strstr(line, " shared:");
		unsigned int device_major, device_minor;

		if (sscanf(line, "%*d %*d %u:%u", &device_major, &device_minor) == 2 &&
		    device_major == major(device) && device_minor == minor(device) &&
		    (!only_shared || (shared && shared < end)))
			return true;
	}
	return ferror(file);
}

/*
 * Whether a bpffs ends with this process's mount namespace, and all that is pinned there with it.
 * The node's first process can tell; in a container it is not seen, and what the agent has mounted
 * there itself is the container's, unless that shares its mounts.
 */
static bool bpffs_is_private(const char *path, bool is_mounted_by_us)
{
	struct stat status;

	if (stat(path, &status))
		return false;
	if (pid_namespace_is_initial())
		return !mount_is_in("/proc/1/mountinfo", status.st_dev, false);
	return is_mounted_by_us && !mount_is_in("/proc/self/mountinfo", status.st_dev, true);
}

static void private_bpffs_warn(const char *path, bool is_mounted_by_us)
{
	if (bpffs_is_private(path, is_mounted_by_us))
		log_warning(
			"the bpffs at %s is mounted in this mount namespace only, and ends with "
			"it: Services stop with the agent's container or shell. Mount bpffs at "
			"the node's " BPFFS_ROOT ", and give that to the container; use "
			"`nsenter --net` rather than `ip netns exec`",
			path);
}

static int bpffs_mount(const char *path)
{
	if (mount("bpf", path, "bpf", 0, "mode=0700"))
		return log_err(-errno, "cannot mount bpffs at %s, mount it before the agent starts",
			       path);
	log_info("mounted bpffs at %s", path);
	return 0;
}

int pin_dir_make(const char *path)
{
	bool is_mounted_by_us = false;
	int err;

	if (is_below(path, BPFFS_ROOT) && !file_is_on_bpffs(BPFFS_ROOT)) {
		err = bpffs_mount(BPFFS_ROOT);
		if (err)
			return err;
		is_mounted_by_us = true;
	}
	err = directory_make(path);
	if (err)
		return log_err(err, "cannot make the pin directory %s", path);
	if (!file_is_on_bpffs(path)) {
		err = bpffs_mount(path);
		if (err)
			return err;
		is_mounted_by_us = true;
	}
	private_bpffs_warn(path, is_mounted_by_us);
	return 0;
}

int pin_dir_lock(const char *path)
{
	auto_cleanup(cleanup_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return take_fd(fd);
}

bool pin_dir_is(const char *path, int fd)
{
	struct stat named, opened;

	return !stat(path, &named) && !fstat(fd, &opened) && named.st_dev == opened.st_dev &&
	       named.st_ino == opened.st_ino;
}

/*
 * Makes the last part of the path if that would be on a bpffs. Returns 0, also where it would not
 * be or exists, or a negative errno.
 */
static int directory_make_on_bpffs(const char *path)
{
	auto_cleanup(cleanup_free) char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	if (!file_is_on_bpffs(dirname(copy)) || !mkdir(path, 0700) || errno == EEXIST)
		return 0;
	return -errno;
}

static bool name_is_kernels(const char *name)
{
	static const char *const kernels_own[] = {".", "..", "maps.debug", "progs.debug"};

	for (size_t i = 0; i < sizeof(kernels_own) / sizeof(kernels_own[0]); i++) {
		if (!strcmp(name, kernels_own[i]))
			return true;
	}
	return false;
}

/* Moves one pin, and replaces what has its name there. */
static int pin_move(int from, const char *name, const char *to)
{
	char old[PATH_MAX], path[PATH_MAX];
	auto_cleanup(cleanup_fd) int fd = -1;

	if (snprintf(old, sizeof(old), "/proc/self/fd/%d/%s", from, name) >= (int)sizeof(old) ||
	    snprintf(path, sizeof(path), "%s/%s", to, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(old);
	if (fd < 0)
		return fd;
	if (unlink(path) && errno != ENOENT)
		return -errno;
	if (bpf_obj_pin(fd, path))
		return -errno;
	/* Landlock forbids this in an unmounted bpffs, where no path leads to the old pin. */
	(void)unlinkat(from, name, 0);
	return 0;
}

int pin_dir_move(int *lock_fd, const char *path)
{
	auto_cleanup(cleanup_fd) int to = -1;
	auto_cleanup(cleanup_dir) DIR *entries = NULL;
	const struct dirent *entry;
	int from, err = directory_make_on_bpffs(path);

	if (err)
		return err;
	if (!file_is_on_bpffs(path))
		return -ENODEV;
	to = pin_dir_lock(path);
	if (to < 0)
		return to;
	from = openat(*lock_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		return -errno;
	entries = fdopendir(from);
	if (!entries) {
		err = -errno;
		(void)close(from);
		return err;
	}
	while ((entry = readdir(entries))) {
		err = name_is_kernels(entry->d_name) || entry->d_type == DT_DIR
			      ? 0
			      : pin_move(from, entry->d_name, path);
		if (err)
			return err;
	}
	(void)close(*lock_fd);
	*lock_fd = take_fd(to);
	return 0;
}

/* A mount point is on another file system than the directory above it. */
static bool is_mount_point(const char *path)
{
	char parent[PATH_MAX];
	struct stat self, above;

	if (snprintf(parent, sizeof(parent), "%s/..", path) >= (int)sizeof(parent))
		return false;
	return !stat(path, &self) && !stat(parent, &above) && self.st_dev != above.st_dev;
}

/* Whatever is left in the directory is not ours, but for the two files that the kernel makes. */
static int foreign_entries_refuse(const char *path)
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(path);
	struct name_list names = {};
	const struct dirent *entry;

	if (!entries)
		return log_err(-errno, "cannot look into %s", path);
	while ((entry = readdir(entries))) {
		if (!name_is_kernels(entry->d_name))
			name_list_add(&names, "", entry->d_name);
	}
	if (!names.count)
		return 0;
	log_error("cannot remove %s: it holds what is not ours (%s); remove that if nobody needs "
		  "it, and run `fairlead cleanup` again",
		  path, names.text);
	return -ENOTEMPTY;
}

int pin_dir_remove(const char *path)
{
	int err = foreign_entries_refuse(path);

	if (err)
		return err;
	/* The mount of another file system than a bpffs stays, and keeps the directory. */
	if (is_mount_point(path) && file_is_on_bpffs(path) && umount2(path, MNT_DETACH))
		return log_err(-errno, "cannot unmount %s", path);
	if (rmdir(path) && errno != ENOENT)
		return log_err(-errno, "cannot remove %s", path);
	return 0;
}
