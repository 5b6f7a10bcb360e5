/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Logs which processes the bind hooks (bpf/socket.bpf.c) refused a NodePort: each process at most
 * once a minute for the same port.
 */

#include <uv.h>

struct refused_binds;

/*
 * Reads `bind_attempts` in the loop; `service_names` maps a NodePort to its Service. Both
 * descriptors are borrowed. Logs. Returns 0 or a negative errno.
 */
int refused_binds_open(uv_loop_t *loop, int bind_attempts, int service_names,
		       struct refused_binds **ret_binds);

/* The loop's next iteration frees it. NULL is fine. */
void refused_binds_close(struct refused_binds *binds);
