/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The subcommands that change the node. Each parses its own options and is the process's exit code.
 */

int agent_main(int argc, char **argv);
int cleanup_main(int argc, char **argv);

/*
 * What `fairlead cleanup` does: removes every pin, link and filter of ours. Logs. Returns 0 or a
 * negative errno, -EBUSY where an agent uses the pins.
 */
int agent_cleanup(const char *pin_dir);
