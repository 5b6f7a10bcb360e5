/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A credential plugin: decides when to run it and keeps its result. */

#include <stdint.h>
#include <uv.h>

#include "kube/client/exec.h"
#include "kube/config/config.h"

struct plugin;

/* `config` is borrowed; its exec is set. `ready`: see kube_credentials_open. NULL: no memory. */
struct plugin *plugin_open(uv_loop_t *loop, const struct kube_config *config,
			   void (*ready)(void *context), void *context);

/*
 * The plugin's result, borrowed until the next call. The plugin is run at the first call, before
 * its result expires, and after a refusal. Returns 0, -EAGAIN (a plugin is running, `ready` will be
 * called), or -EIO (it has failed, which was logged; a later call tries again). `ca_pem`: see
 * kube_exec_start.
 */
int plugin_get(struct plugin *plugin, const char *ca_pem,
	       const struct kube_exec_result **ret_result);

/* Changes whenever the result's certificate or key changes. */
uint64_t plugin_revision(const struct plugin *plugin);

/* The server has refused the last result of plugin_get. */
void plugin_refuse(struct plugin *plugin);

/* Kills a running plugin; the loop frees the run in its next turns. NULL is fine. */
void plugin_close(struct plugin *plugin);
