/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * `fairlead cleanup`: removes every pin, link and filter of ours, and nothing else; or the hooks
 * that another instance has left where ours are.
 */

#include <argp.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "agent/node_cleanup.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "datapath/pin_dir.h"
#include "fairlead/limits.h"
#include "link/hooks/cgroup.h"
#include "link/hooks/other_instance.h"

enum key {
	KEY_OTHERS = 0x100,
	KEY_CGROUP,
};

struct cleanup_options {
	const char *pin_dir;
	const char *cgroup; /* NULL: the root that is found */
	bool others;
};

static const struct argp_option option_table[] = {
	{"pin-dir", 'p', "DIR", 0, "Where the pins are (default: " PIN_DIR_DEFAULT ")", 0},
	{"others", KEY_OTHERS, NULL, 0,
	 "Remove only hooks of other instances: links with fairlead's programs to this network namespace or "
	 "the cgroup that no pin in DIR holds; the agent that has its pins there must be running",
	 0},
	{"cgroup", KEY_CGROUP, "PATH", 0,
	 "With --others: the cgroup of the socket hooks (default: the root of cgroup v2)", 0},
	{0},
};

static const char doc[] =
	"Removes every pin, link and filter of fairlead from this node and this network namespace, and nothing "
	"else. Services stop working."
	"\v"
	"Examples:\n"
	"  fairlead cleanup\n"
	"  fairlead cleanup --pin-dir /run/fairlead/node-1\n"
	"  fairlead cleanup --others --pin-dir /run/fairlead/node-1\n"
	"\n"
	"Exit status: 0 when nothing of what was to be removed is left, 1 on failure (an agent still runs), 2 for misuse.";

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
	struct cleanup_options *options = state->input;

	switch (key) {
	case 'p':
		options->pin_dir = arg;
		return 0;
	case KEY_OTHERS:
		options->others = true;
		return 0;
	case KEY_CGROUP:
		options->cgroup = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not an option of fairlead cleanup", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

struct removal {
	unsigned int removed;
	int err;
};

static bool other_hook_remove(void *context, int link, const struct bpf_link_info *info)
{
	struct removal *removal = context;
	char text[OTHER_HOOK_TEXT_SIZE];
	int err = bpf_link_detach(link);

	(void)other_hook_text(info, text);
	if (err) {
		removal->err = log_err(err, "cannot remove %s, continuing", text);
		return true;
	}
	log_info("removed %s: program %u", text, info->prog_id);
	removal->removed++;
	return true;
}

/*
 * The pins of the agent that runs tell its hooks from those of others: with a directory in which
 * none has its pins, the hooks of a running agent would count as another's.
 */
static int agent_check(const char *pin_dir)
{
	auto_cleanup(cleanup_fd) int lock_fd = pin_dir_lock(pin_dir);

	if (lock_fd == -EBUSY)
		return 0;
	if (lock_fd < 0 && lock_fd != -ENOENT)
		return log_err(lock_fd, "cannot look into %s: run as root", pin_dir);
	log_error("no agent runs with the pins in %s: name the --pin-dir of the one that runs, or "
		  "start one",
		  pin_dir);
	return -ESRCH;
}

static int others_remove(const struct cleanup_options *options)
{
	auto_cleanup(cleanup_free) char *root = options->cgroup ? NULL : cgroup_find_root();
	const char *cgroup = options->cgroup ? options->cgroup : root;
	struct removal removal = {};
	int err;

	if (options->cgroup && cgroup_check(cgroup))
		return -EINVAL;
	err = agent_check(options->pin_dir);
	if (err)
		return err;
	err = other_instance_find(options->pin_dir, cgroup, OTHER_INSTANCE_SETTLE_MS,
				  other_hook_remove, &removal);
	if (err)
		return log_err(err, "cannot look for hooks of other instances: run as root");
	if (!removal.removed && !removal.err)
		log_info("no hook of another fairlead is on this node's links%s%s",
			 cgroup ? " or on the cgroup " : "; no cgroup v2 is mounted",
			 cgroup ? cgroup : "");
	return removal.err;
}

int cleanup_main(int argc, char **argv)
{
	const struct argp argp = {.options = option_table, .parser = option_parse, .doc = doc};
	struct cleanup_options options = {.pin_dir = PIN_DIR_DEFAULT};
	int err;

	argp_err_exit_status = EXIT_STATUS_USAGE;
	(void)argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options);
	err = options.others ? others_remove(&options) : node_cleanup(options.pin_dir);
	return err ? EXIT_STATUS_NOT_CLEAN : EXIT_STATUS_OK;
}
