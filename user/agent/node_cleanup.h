/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* `fairlead cleanup`: parses its own options and returns the process's exit code. */
int cleanup_main(int argc, char **argv);

/*
 * Removes every pin, link and filter of ours from this node. Logs. Returns 0 or a negative errno,
 * -EBUSY if an agent is using the pins.
 */
int node_cleanup(const char *pin_dir);
