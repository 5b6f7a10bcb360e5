/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The file that keeps the addresses of the cluster's API servers for the next boot. */

#include "kube/client/servers.h"

/*
 * What an earlier run has written; `room` addresses at most. A file that is not what we write is
 * worth nothing: none of it counts, which is logged, and so is one that cannot be read. Returns how
 * many addresses there are.
 */
size_t servers_file_read(const char *path, struct server_address *addresses, size_t room);

/* Writes "ADDRESS:PORT" each; a crash leaves the old file or the new one. Logs. */
void servers_file_write(const char *path, const char *const *texts, size_t count);
