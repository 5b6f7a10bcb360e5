/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The file that keeps the addresses of the cluster's API servers for the next start. */

#include "kube/client/servers.h"

/*
 * Reads what an earlier run has written, at most `room` addresses. If any line is invalid the whole
 * file is ignored. Logs that, and a file that cannot be read. Returns the number of addresses.
 */
size_t servers_file_read(const char *path, struct server_address *addresses, size_t room);

/*
 * Writes one "ADDRESS:PORT" per line; after a crash the file is the old one or the new one. Logs.
 */
void servers_file_write(const char *path, const char *const *texts, size_t count);
