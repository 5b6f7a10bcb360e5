/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the agent does to itself and for later runs, before it works. */

/*
 * Asks the kernel to prefer others when memory is short (rule O175). A failure is logged, and no
 * more.
 */
void oom_score_adjust(int score);

/*
 * Whether the kernel will take programs of this process; to be asked before it says no to one of
 * them. Returns 0 or a negative errno. Logs.
 */
int capabilities_check(void);

/*
 * What needs more rights than a later run has: mounts bpffs and makes the pin directory (rule
 * Q192). Logs. Returns 0 or a negative errno.
 */
int agent_init_only(const char *pin_dir);
