/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A credential plugin: when it is run, and what it said. */

#include <stdint.h>
#include <uv.h>

#include "kube/config/config.h"
#include "kube/client/exec.h"

struct plugin;

/* `config` is borrowed, and has an exec. `ready` as in kube_credentials_open. NULL: no memory. */
struct plugin *plugin_open(uv_loop_t *loop, const struct kube_config *config,
			   void (*ready)(void *context), void *context);

/*
 * What the plugin said, borrowed until the next call. It is run on the first call, before what it
 * said expires, and after a refusal; -EAGAIN: `ready` will be called. -EIO: it has failed, which
 * was logged; a later call tries again. `ca_pem` as in kube_exec_start.
 */
int plugin_get(struct plugin *plugin, const char *ca_pem,
	       const struct kube_exec_result **ret_result);

/* Another value: the result has another certificate or key than before. */
uint64_t plugin_revision(const struct plugin *plugin);

/* The server does not take what plugin_get gave last. */
void plugin_refuse(struct plugin *plugin);

/* The loop's next turns free what runs. NULL is fine. */
void plugin_close(struct plugin *plugin);
