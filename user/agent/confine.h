/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The agent drops rights that it does not use, so an attacker who exploits a parser gains no more.
 * docs/security.md has the tables.
 */

#include <stdbool.h>

/*
 * Checks whether this process has the capabilities to load programs; call it before the first load,
 * so that the error is clear. Returns 0 or a negative errno. Logs.
 */
int capabilities_check(void);

/*
 * Drops the capabilities that no work of the agent needs, for this process and what it executes,
 * and forbids setuid programs to add any (no_new_privs). Call it before the process has threads,
 * which inherit this. Logs. Returns 0 or a negative errno.
 */
int confine_capabilities(void);

struct confine_options {
	const char *pin_dir;   /* made already */
	const char *state_dir; /* made if it is not there; NULL: none */
	/*
	 * Credential plugins write where they like, and inherit what the agent may: then Landlock
	 * is left out. So it is with CAP_SYS_PTRACE, by which the agent gets at the sockets of
	 * other processes whose backend has left: Landlock would forbid that.
	 */
	bool runs_plugins;
};

/*
 * Once everything is attached: refuses system calls that neither the agent nor a plugin uses, for
 * all threads (seccomp), and writing outside of its folders, for this thread, which is the one
 * that writes (Landlock). What the kernel does not have is left out and logged. Logs.
 */
void confine_process(const struct confine_options *options);
