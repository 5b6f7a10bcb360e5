/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/pinned_link.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

int pin_path(char path[PATH_MAX], const char *dir, const char *name)
{
	int len = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int pin_remove(const char *path)
{
	auto_cleanup(cleanup_fd) int fd = bpf_obj_get(path);

	/*
	 * Detaching fails if the device or cgroup is already gone; the pin is removed all the same.
	 */
	if (fd >= 0)
		(void)bpf_link_detach(fd);
	if (unlink(path) && errno != ENOENT)
		return -errno;
	return 0;
}

int pins_remove(const char *dir, const char *prefix, bool (*keep)(void *context, const char *name),
		void *context)
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(dir);
	const struct dirent *entry;
	int first_err = 0;

	if (!entries)
		return errno == ENOENT ? 0
				       : log_err(-errno, "cannot read the pin directory %s", dir);
	while ((entry = readdir(entries))) {
		char path[PATH_MAX];
		int err;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (keep && keep(context, entry->d_name))
			continue;
		err = pin_path(path, dir, entry->d_name);
		if (!err)
			err = pin_remove(path);
		if (err)
			(void)log_err(err, "cannot remove the pin %s/%s, continuing", dir,
				      entry->d_name);
		if (!first_err)
			first_err = err;
	}
	return first_err;
}
