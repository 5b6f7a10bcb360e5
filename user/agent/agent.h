/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The subcommands that change the node. Each parses its own options and returns the process's exit
 * code.
 */

int agent_main(int argc, char **argv);
int cleanup_main(int argc, char **argv);

/*
 * Implements `fairlead cleanup`: removes every pin, link and filter of ours. Logs. Returns 0 or a
 * negative errno, -EBUSY if an agent is using the pins.
 */
int agent_cleanup(const char *pin_dir);
