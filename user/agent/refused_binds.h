/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Logs which processes were refused a NodePort. */

#include <uv.h>

struct bind_watch;

/*
 * Reads `bind_attempts` in the loop; `service_names` maps a NodePort to its Service. Both
 * descriptors are borrowed. Logs. Returns 0 or a negative errno.
 */
int bind_watch_open(uv_loop_t *loop, int bind_attempts, int service_names,
		    struct bind_watch **ret_watch);

/* The loop's next iteration frees it. NULL is fine. */
void bind_watch_close(struct bind_watch *watch);
