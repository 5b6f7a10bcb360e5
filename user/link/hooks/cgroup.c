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
#include "link/hooks/pinned_link.h"
#include "link/hooks/program.h"
#include "base/log.h"

#define PIN_PREFIX "cgroup_"

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
		bool is_whole;

		if (!line_is_cgroup2(line, &root, &mount_point))
			continue;
		/*
		 * A bind mount of a subtree covers only that subtree's processes: use it only as a
		 * fallback.
		 */
		is_whole = !strcmp(root, "/");
		if (found && !is_whole)
			continue;
		octal_unescape(mount_point);
		free(found);
		found = strdup(mount_point);
		if (is_whole)
			break;
	}
	return take_ptr(found);
}

/* A cgroup's id is the inode number of its directory. */
static int cgroup_id(int cgroup, __u64 *ret_id)
{
	struct stat status;

	if (fstat(cgroup, &status))
		return -errno;
	*ret_id = status.st_ino;
	return 0;
}

static bool link_is_on_cgroup(int link, __u64 id, enum bpf_attach_type type, __u32 *ret_program)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int err = bpf_obj_get_info_by_fd(link, &info, &size);

	*ret_program = info.prog_id;
	return !err && info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.cgroup_id == id &&
	       info.cgroup.attach_type == type;
}

static int program_pin_path(char path[PATH_MAX], const char *pin_dir,
			    const struct cgroup_program *program)
{
	char name[64];

	(void)snprintf(name, sizeof(name), PIN_PREFIX "%s", program->name);
	return pin_path(path, pin_dir, name);
}

static int program_attach(int cgroup, __u64 id, const char *pin_dir,
			  const struct cgroup_program *program)
{
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 old_program;
	int err = program_pin_path(path, pin_dir, program);

	if (err)
		return err;
	link = bpf_obj_get(path);
	if (link >= 0 && link_is_on_cgroup(link, id, program->type, &old_program))
		return bpf_link_update(link, program->fd, NULL);
	cleanup_fd(&link);
	link = -1;
	err = pin_remove(path);
	if (err)
		return err;
	link = bpf_link_create(program->fd, cgroup, program->type, NULL);
	if (link < 0)
		return link;
	return bpf_obj_pin(link, path);
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
		return log_err(-errno, "cannot tell what %s is; name another with --cgroup", path);
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return 0;
	(void)log_err(0, "%s is no cgroup v2; name one with --cgroup", path);
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
	__u64 id = 0;
	int err;

	if (cgroup < 0)
		return cgroup;
	err = cgroup_id(cgroup, &id);
	if (err)
		return log_err(err, "cannot tell the id of the cgroup %s", cgroup_path);
	for (size_t i = 0; i < count; i++) {
		err = program_attach(cgroup, id, pin_dir, &programs[i]);
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

static bool program_is_there(__u64 id, const char *pin_dir, const struct cgroup_program *program)
{
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 attached;

	if (program_pin_path(path, pin_dir, program))
		return false;
	link = bpf_obj_get(path);
	return link >= 0 && link_is_on_cgroup(link, id, program->type, &attached) &&
	       attached == program_id(program->fd);
}

int cgroup_count_missing(const char *cgroup_path, const char *pin_dir,
			 const struct cgroup_program *programs, size_t count)
{
	struct stat status;
	int missing = 0;

	if (stat(cgroup_path, &status))
		return -errno;
	for (size_t i = 0; i < count; i++)
		missing += !program_is_there(status.st_ino, pin_dir, &programs[i]);
	return missing;
}

int cgroup_detach_all(const char *pin_dir)
{
	return pins_remove(pin_dir, PIN_PREFIX, NULL, NULL);
}
