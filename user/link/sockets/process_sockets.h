/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Access to the sockets of other processes, through /proc. */

#include <stdbool.h>
#include <sys/types.h>

struct process_sockets {
	/* Called for every socket of every process in /proc. */
	bool (*is_wanted)(void *context, ino_t inode);
	/* Called for each wanted socket, with a descriptor of ours that is closed afterwards. */
	void (*visit)(void *context, ino_t inode, int fd);
	void *context;
};

/*
 * Visits sockets until none is wanted any more (`is_done`) or all were visited. Processes that exit
 * in the meantime are skipped. Returns 0, -EPERM if a socket could not be obtained for lack of
 * privileges (CAP_SYS_PTRACE), or another negative errno. Silent.
 */
int process_sockets_visit(const struct process_sockets *visitor, const bool *is_done);
