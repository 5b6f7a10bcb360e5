/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Socket hooks: programs on a cgroup, as links pinned below the pin directory as cgroup_<name>. */

#include <linux/bpf.h>
#include <stddef.h>

struct cgroup_program {
	int fd;
	enum bpf_attach_type type;
	const char *name; /* of the hook, "connect4"; the pin is called after it */
};

/*
 * The cgroup v2 mount of this machine ("/sys/fs/cgroup", ".../unified", ...), by
 * /proc/self/mountinfo. The caller frees. NULL: there is none.
 */
char *cgroup_find_root(void);

/* Is it a cgroup v2 that can be opened? Logs. Returns 0 or a negative errno. */
int cgroup_check(const char *path);

/*
 * Attaches all programs to the cgroup. Links of an earlier run are given the new program in place,
 * so that no connect() finds a gap, unless they are of another cgroup: those are made anew. Links
 * of an earlier run that are none of these go. Where one cannot be attached, none stays. Logs.
 * Returns 0 or a negative errno.
 */
int cgroup_attach(const char *cgroup_path, const char *pin_dir,
		  const struct cgroup_program *programs, size_t count);

/*
 * How many of the programs are not on the cgroup any more: their link was detached, unpinned or
 * given another program. Silent. Or a negative errno.
 */
int cgroup_count_missing(const char *cgroup_path, const char *pin_dir,
			 const struct cgroup_program *programs, size_t count);

/* Removes every socket hook that is pinned below `pin_dir`. Logs. Returns 0 or a negative errno. */
int cgroup_detach_all(const char *pin_dir);
