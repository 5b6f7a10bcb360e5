/* SPDX-License-Identifier: BSD-2-Clause */

/* `fairlead cleanup`: removes every pin, link and filter of ours, and nothing else. */

#include "agent/node_cleanup.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "datapath/pin_dir.h"
#include "fairlead/limits.h"
#include "link/hooks/cgroup.h"
#include "link/link_watch.h"

#define EXIT_USAGE 2

static const struct argp_option option_table[] = {
	{"pin-dir", 'p', "DIR", 0, "Where the pins are (default: " PIN_DIR_DEFAULT ")", 0},
	{0},
};

static const char doc[] =
	"Removes every pin, link and filter of fairlead from this node and this network namespace, and nothing "
	"else. Services stop working."
	"\v"
	"Examples:\n"
	"  fairlead cleanup\n"
	"  fairlead cleanup --pin-dir /run/fairlead/node-1\n"
	"\n"
	"Exit status: 0 when nothing of fairlead is left, 1 on failure (an agent still runs), 2 for misuse.";

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
	const char **pin_dir = state->input;

	switch (key) {
	case 'p':
		*pin_dir = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not an option of fairlead cleanup", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Other files in the directory are not ours. */
static int maps_unpin(const char *pin_dir)
{
	char path[PATH_MAX];
	int err = 0;

	for (int id = 0; id < MAP_COUNT; id++) {
		if (snprintf(path, sizeof(path), "%s/%s", pin_dir, map_table[id].name) >=
		    (int)sizeof(path))
			return -ENAMETOOLONG;
		if (unlink(path) && errno != ENOENT)
			err = log_err(-errno, "cannot remove the pin %s", path);
	}
	return err;
}

int node_cleanup(const char *pin_dir)
{
	auto_cleanup(cleanup_fd) int lock_fd = -1;
	int err, first;

	if (access(pin_dir, F_OK) && errno != ENOENT)
		return log_err(-errno, "cannot look into %s: run as root", pin_dir);
	if (access(pin_dir, F_OK)) {
		/* Without tcx there may be clsact filters and no pins. */
		return hook_detach_all(pin_dir);
	}
	lock_fd = pin_dir_lock(pin_dir);
	if (lock_fd == -EBUSY) {
		(void)log_err(0, "an agent still uses the pins in %s: stop it first", pin_dir);
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
	return first ? first : err;
}

int cleanup_main(int argc, char **argv)
{
	const struct argp argp = {.options = option_table, .parser = option_parse, .doc = doc};
	const char *pin_dir = PIN_DIR_DEFAULT;

	argp_err_exit_status = EXIT_USAGE;
	(void)argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &pin_dir);
	return node_cleanup(pin_dir) ? EXIT_FAILURE : EXIT_SUCCESS;
}
