/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/cgroup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "link/hooks/pinned_link.h"

#define PIN_PREFIX   "cgroup_"
#define PROGRAMS_MAX 64 /* the kernel's limit for one hook */

/* A cgroup's id is the inode of its directory, and the root has the first. */
#define ROOT_ID 1

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void octal_unescape(char *text)
{
	char *out = text;

	while (*text) {
		unsigned int value;
		int len = 0;

		if (*text == '\\' && sscanf(text + 1, "%3o%n", &value, &len) == 1 && len == 3) {
			*out++ = (char)value;
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/*
 * Parses one line of mountinfo, see proc_pid_mountinfo(5). Returns whether it is a cgroup v2 mount,
 * with its root and mount point.
 */
static bool line_is_cgroup2(char *line, const char **ret_root, char **ret_mount_point)
{
	char *type = strstr(line, " - "); /* optional fields end here */
	char *save = NULL;

	if (!type || strncmp(type + 3, "cgroup2 ", strlen("cgroup2 ")) != 0)
		return false;
	*type = '\0';
	(void)strtok_r(line, " ", &save); /* mount id */
	(void)strtok_r(NULL, " ", &save); /* parent id */
	(void)strtok_r(NULL, " ", &save); /* device */
	*ret_root = strtok_r(NULL, " ", &save);
	*ret_mount_point = strtok_r(NULL, " ", &save);
	return *ret_root && *ret_mount_point;
}

bool cgroup_is_root(const char *path)
{
	struct stat status;

	return !stat(path, &status) && status.st_ino == ROOT_ID;
}

char *cgroup_find_root(void)
{
	auto_cleanup(cleanup_file) FILE *file = fopen("/proc/self/mountinfo", "re");
	auto_cleanup(cleanup_free) char *found = NULL;
	auto_cleanup(cleanup_free) char *line = NULL;
	size_t size = 0;

	if (!file)
		return NULL;
	while (getline(&line, &size, file) > 0) {
		const char *root;
		char *mount_point;
		bool is_root;

		if (!line_is_cgroup2(line, &root, &mount_point))
			continue;
		octal_unescape(mount_point);
		/* A subtree covers only the processes in it: use one only as a fallback. */
		is_root = cgroup_is_root(mount_point);
		if (found && !is_root && strcmp(root, "/") != 0)
			continue;
		free(found);
		found = strdup(mount_point);
		if (is_root)
			break;
	}
	return take_ptr(found);
}

static bool pinned_is_on_cgroup(const struct pinned_link *pinned, const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_CGROUP && info->cgroup.cgroup_id == pinned->cgroup_id &&
	       info->cgroup.attach_type == pinned->type;
}

static bool cgroup_has_program(const struct pinned_link *pinned, __u32 program)
{
	__u32 programs[PROGRAMS_MAX], count = PROGRAMS_MAX;

	if (bpf_prog_query(pinned->target, pinned->type, 0, NULL, programs, &count))
		return false;
	for (__u32 i = 0; i < count; i++) {
		if (programs[i] == program)
			return true;
	}
	return false;
}

/* `cgroup` is a descriptor, or -1 if the link is only to be compared. */
static struct pinned_link hook_link(int cgroup, const struct stat *status, const char *pin_dir,
				    const struct cgroup_program *program)
{
	struct pinned_link pinned = {
		.pin_dir = pin_dir,
		.target = cgroup,
		.type = program->type,
		.cgroup_id = status->st_ino,
		.is_on_target = pinned_is_on_cgroup,
		.has_program = cgroup_has_program,
	};

	(void)snprintf(pinned.name, sizeof(pinned.name), PIN_PREFIX "%s", program->name);
	return pinned;
}

static int cgroup_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return log_err(-errno, "cannot open the cgroup %s; name another with --cgroup",
			       path);
	return fd;
}

int cgroup_check(const char *path)
{
	auto_cleanup(cleanup_fd) int cgroup = cgroup_open(path);
	struct statfs fs;

	if (cgroup < 0)
		return cgroup;
	if (fstatfs(cgroup, &fs))
		return log_err(
			-errno,
			"cannot read the file system of %s; name another cgroup with --cgroup",
			path);
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return 0;
	log_error("%s is not a cgroup v2; name one with --cgroup", path);
	return -EINVAL;
}

struct wanted {
	const struct cgroup_program *programs;
	size_t count;
};

static bool pin_is_wanted(void *context, const char *name)
{
	const struct wanted *wanted = context;

	for (size_t i = 0; i < wanted->count; i++) {
		if (!strcmp(name + strlen(PIN_PREFIX), wanted->programs[i].name))
			return true;
	}
	return false;
}

int cgroup_attach(const char *cgroup_path, const char *pin_dir,
		  const struct cgroup_program *programs, size_t count)
{
	auto_cleanup(cleanup_fd) int cgroup = cgroup_open(cgroup_path);
	struct stat status;

	if (cgroup < 0)
		return cgroup;
	if (fstat(cgroup, &status))
		return log_err(-errno, "cannot read the id of the cgroup %s", cgroup_path);
	for (size_t i = 0; i < count; i++) {
		const struct pinned_link pinned = hook_link(cgroup, &status, pin_dir, &programs[i]);
		int err = pinned_link_attach(&pinned, programs[i].fd);

		if (!err)
			continue;
		(void)log_err(err, "cannot attach the socket hook %s to the cgroup %s",
			      programs[i].name, cgroup_path);
		/* A partial set would translate traffic that the missing hooks do not know of. */
		(void)cgroup_detach_all(pin_dir);
		return err;
	}
	/* Remove the pins of hooks that only an earlier run had. */
	return pins_remove(pin_dir, PIN_PREFIX, pin_is_wanted, &(struct wanted){programs, count});
}

int cgroup_count_missing(const char *cgroup_path, const char *pin_dir,
			 const struct cgroup_program *programs, size_t count)
{
	struct stat status;
	int missing = 0;

	if (stat(cgroup_path, &status))
		return -errno;
	for (size_t i = 0; i < count; i++) {
		const struct pinned_link pinned = hook_link(-1, &status, pin_dir, &programs[i]);

		missing += !pinned_link_has_program(&pinned, programs[i].fd);
	}
	return missing;
}

int cgroup_detach_all(const char *pin_dir)
{
	return pins_remove(pin_dir, PIN_PREFIX, NULL, NULL);
}
