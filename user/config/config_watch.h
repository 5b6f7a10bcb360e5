/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Tells when the configuration file is not the one that was read any more: written, renamed,
 * removed, or replaced through a symbolic link on the way to it, as ConfigMaps are (rule N155). The
 * same file with the same content, other rights or another time is no change.
 */

#include <uv.h>

#include "config/kube_proxy_config.h"

struct config_watch;

/*
 * Calls `changed` once, on the loop. `path` is borrowed, `mark` is of what was read; a change
 * since then is noticed too. The loop is not kept from ending. Logs. Returns 0 or a negative errno.
 */
int config_watch_open(uv_loop_t *loop, const char *path, const struct config_mark *mark,
		      void (*changed)(void *context), void *context,
		      struct config_watch **ret_watch);

/* NULL is fine. Memory is freed by the loop, which must run on until its handles are closed. */
void config_watch_close(struct config_watch *watch);
