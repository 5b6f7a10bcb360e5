/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/node_cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "datapath/pin_dir.h"
#include "datapath/pinned_maps.h"
#include "link/hooks/cgroup.h"
#include "link/hooks/other_instance.h"
#include "link/link_watch.h"

static int pin_unlink(const char *pin_dir, const char *name, const char *suffix)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s%s", pin_dir, name, suffix) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(path) && errno != ENOENT)
		return log_err(-errno, "cannot remove the pin %s", path);
	return 0;
}

/* Also what an agent left that was killed while maps grew. Other files there are not ours. */
static int maps_unpin(const char *pin_dir)
{
	int first = pin_unlink(pin_dir, PIN_FLOWS_HELD, "");

	for (int id = 0; id < MAP_COUNT; id++) {
		const int err = pin_unlink(pin_dir, map_table[id].name, "");
		const int err_new = pin_unlink(pin_dir, map_table[id].name, PIN_NEW_SUFFIX);

		first = first ? first : err ? err : err_new;
	}
	return first;
}

static bool other_hook_count(void *context, int link, const struct bpf_link_info *info)
{
	(void)link;
	(void)info;
	(*(unsigned int *)context)++;
	return true;
}

/* Hooks of other instances stay attached: warn the operator. */
static void others_mention(const char *pin_dir)
{
	auto_cleanup(cleanup_free) char *cgroup = cgroup_find_root();
	unsigned int count = 0;

	if (other_instance_find(pin_dir, cgroup, 0, other_hook_count, &count) || !count)
		return;
	log_warning(
		"%u hook%s of another fairlead remain%s on this node: if nobody needs them, run "
		"`fairlead cleanup --pin-dir DIR` with the directory of their pins. Where that is "
		"lost, start an agent with --pin-dir %s, run `fairlead cleanup --others --pin-dir "
		"%s`, stop the agent and clean up again",
		count, count == 1 ? "" : "s", count == 1 ? "s" : "", pin_dir, pin_dir);
}

int node_cleanup(const char *pin_dir)
{
	auto_cleanup(cleanup_fd) int lock_fd = -1;
	int err, first;

	if (access(pin_dir, F_OK) && errno != ENOENT)
		return log_err(-errno, "cannot look into %s: run as root", pin_dir);
	if (access(pin_dir, F_OK)) {
		/* Without tcx there may be clsact filters and no pins. */
		err = hook_detach_all(pin_dir);
		others_mention(pin_dir);
		return err;
	}
	lock_fd = pin_dir_lock(pin_dir);
	if (lock_fd == -EBUSY) {
		log_error("an agent still uses the pins in %s: stop it first", pin_dir);
		return -EBUSY;
	}
	if (lock_fd < 0)
		return log_err(lock_fd, "cannot lock %s", pin_dir);
	first = cgroup_detach_all(pin_dir);
	err = hook_detach_all(pin_dir);
	first = first ? first : err;
	err = maps_unpin(pin_dir);
	first = first ? first : err;
	(void)close(take_fd(lock_fd));
	err = pin_dir_remove(pin_dir);
	others_mention(pin_dir);
	return first ? first : err;
}
