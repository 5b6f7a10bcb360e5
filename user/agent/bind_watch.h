/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Tells in the log who was refused a NodePort. */

#include <uv.h>

struct bind_watch;

/*
 * Reads `bind_attempts` in the loop; `service_names` says whose NodePort it was. Both descriptors
 * are borrowed. Logs. Returns 0 or a negative errno.
 */
int bind_watch_open(uv_loop_t *loop, int bind_attempts, int service_names,
		    struct bind_watch **ret_watch);

/* The loop's next turn frees it. NULL is fine. */
void bind_watch_close(struct bind_watch *watch);
