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
#include "base/map.h"

/* The names of all our programs begin with this. */
#define PROGRAM_PREFIX "fl_"

__u32 program_id(int program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(program, &info, &size) ? 0 : info.id;
}

bool program_name_is_ours(const char *name)
{
	return !strncmp(name, PROGRAM_PREFIX, strlen(PROGRAM_PREFIX));
}

bool program_is_ours(__u32 program)
{
	auto_cleanup(cleanup_fd) int fd = bpf_prog_get_fd_by_id(program);
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
	       program_name_is_ours(info.name);
}

/* The program of `link` if that is on the target, as the kernel's id, else 0. */
static __u32 program_on_target(const struct pinned_link *pinned, int link)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link, &info, &size) || !pinned->is_on_target(pinned, &info))
		return 0;
	return info.prog_id;
}

/*
 * The link that attaches the program to the target, as a descriptor that the caller closes; -1:
 * there is none, it is about to end, or the agent may not look links up by their ids.
 */
static int link_find(const struct pinned_link *pinned, __u32 program)
{
	__u32 id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		auto_cleanup(cleanup_fd) int link = bpf_link_get_fd_by_id(id);

		if (link >= 0 && program_on_target(pinned, link) == program)
			return take_fd(link);
	}
	return -1;
}

/*
 * Detaches the link that is pinned at `path` and removes the pin. Removing the pin alone is not
 * enough: the kernel would then detach the program later, at a time of its own. Returns 0, also if
 * there is no pin, or a negative errno.
 */
static int pin_remove(const char *path)
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

int pinned_link_attach(const struct pinned_link *pinned, int program)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = pinned->flags);
	auto_cleanup(cleanup_fd) int old = -1, link = -1;
	const __u32 id = program_id(program);
	char path[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, pinned->name);

	if (err)
		return err;
	old = bpf_obj_get(path);
	if (old >= 0 && program_on_target(pinned, old))
		return bpf_link_update(old, program, NULL);
	err = pin_remove(path);
	if (err)
		return err;
	/* Its last descriptor: the old link is gone before the new one is attached. */
	if (old >= 0)
		(void)close(take_fd(old));
	if (pinned->has_program(pinned, id))
		link = link_find(pinned, id);
	if (link >= 0)
		return bpf_obj_pin(link, path);
	if (pinned->is_target_free && !pinned->is_target_free(pinned))
		return -EBUSY;
	link = bpf_link_create(program, pinned->target, pinned->type, &options);
	if (link < 0)
		return link;
	return bpf_obj_pin(link, path);
}

/* -ENOENT: there is no pin, or its link is not on the target. */
static int pinned_program_id(const struct pinned_link *pinned, __u32 *ret_id)
{
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, pinned->name);

	if (err)
		return err;
	link = bpf_obj_get(path);
	if (link < 0)
		return link;
	*ret_id = program_on_target(pinned, link);
	return *ret_id ? 0 : -ENOENT;
}

bool pinned_link_has_program(const struct pinned_link *pinned, int program)
{
	__u32 id;

	return !pinned_program_id(pinned, &id) && id == program_id(program);
}

int pinned_link_program(const struct pinned_link *pinned)
{
	__u32 id;
	int err = pinned_program_id(pinned, &id);

	return err ? err : bpf_prog_get_fd_by_id(id);
}

int pinned_link_remove(const struct pinned_link *pinned)
{
	char path[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, pinned->name);

	return err ? err : pin_remove(path);
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
