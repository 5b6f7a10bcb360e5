/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Sockets of other processes, by way of /proc. */

#include <stdbool.h>
#include <sys/types.h>

struct process_sockets {
	/* Asked for every socket of every process that /proc shows. */
	bool (*is_wanted)(void *context, ino_t inode);
	/* Given the sockets that are wanted, as a descriptor of ours that is closed afterwards. */
	void (*visit)(void *context, ino_t inode, int fd);
	void *context;
};

/*
 * Visits sockets until none is wanted any more (`is_done`) or all were seen. Processes that end
 * meanwhile are passed over. Returns 0, -EPERM where one could not be had for lack of rights
 * (CAP_SYS_PTRACE), or another negative errno. Silent.
 */
int process_sockets_visit(const struct process_sockets *visitor, const bool *is_done);
