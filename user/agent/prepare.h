/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the agent does to its own process, and for later runs, before it starts working. */

/*
 * Sets the process's oom_score_adj, so that the OOM killer prefers other processes (rule O175). A
 * failure is logged and otherwise ignored.
 */
void oom_score_adjust(int score);

/*
 * Checks whether this process has the capabilities to load programs; call it before the first load,
 * so that the error is clear. Returns 0 or a negative errno. Logs.
 */
int capabilities_check(void);

/*
 * Prepares what needs more privileges than later runs have: mounts bpffs and creates the pin
 * directory (rule Q192). Logs. Returns 0 or a negative errno.
 */
int agent_init_only(const char *pin_dir);
