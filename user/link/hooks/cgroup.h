/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Socket hooks: programs attached to a cgroup by links that are pinned in the pin directory as
 * cgroup_<name>.
 */

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

struct cgroup_program {
	int fd;
	enum bpf_attach_type type;
	const char *name; /* of the hook, "connect4"; part of the pin's name */
};

/*
 * The mount point of cgroup v2 on this machine ("/sys/fs/cgroup", ".../unified", ...), from
 * /proc/self/mountinfo; of the root, if that is mounted: a container with a cgroup namespace of its
 * own calls its own cgroup "/". The caller frees it. NULL: there is none.
 */
char *cgroup_find_root(void);

/* Whether a cgroup v2 is the root of the hierarchy, to which all processes belong. Silent. */
bool cgroup_is_root(const char *path);

/*
 * Checks that `path` is a cgroup v2 directory and can be opened. Logs. Returns 0 or a negative
 * errno.
 */
int cgroup_check(const char *path);

/*
 * Attaches all programs to the cgroup. A link of an earlier run has its program replaced in place,
 * so that no connect() finds a gap; if it belongs to another cgroup, it is created anew. Links of
 * an earlier run that are not in `programs` are removed. If one program cannot be attached, all are
 * detached. Logs. Returns 0 or a negative errno.
 */
int cgroup_attach(const char *cgroup_path, const char *pin_dir,
		  const struct cgroup_program *programs, size_t count);

/*
 * Counts the programs that are no longer attached to the cgroup: their link was detached or
 * unpinned, or its program was replaced. Silent. Returns the count or a negative errno.
 */
int cgroup_count_missing(const char *cgroup_path, const char *pin_dir,
			 const struct cgroup_program *programs, size_t count);

/* Removes every socket hook that is pinned in `pin_dir`. Logs. Returns 0 or a negative errno. */
int cgroup_detach_all(const char *pin_dir);
