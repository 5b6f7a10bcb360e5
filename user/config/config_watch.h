/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reports when the configuration file is no longer the one that was read: written, renamed,
 * removed, or replaced through a symbolic link on the path to it, as ConfigMaps are (rule N155).
 * The same file with the same content but another mode or time is unchanged.
 */

#include <uv.h>

#include "config/kube_proxy_config.h"

struct config_watch;

/*
 * Calls `changed` once, on the loop. `path` is borrowed, `mark` describes the file that was read; a
 * change since then is reported too. Does not keep the loop alive. Logs. Returns 0 or a negative
 * errno.
 */
int config_watch_open(uv_loop_t *loop, const char *path, const struct config_mark *mark,
		      void (*changed)(void *context), void *context,
		      struct config_watch **ret_watch);

/* NULL is fine. The loop frees the memory; it must run until the handles are closed. */
void config_watch_close(struct config_watch *watch);
