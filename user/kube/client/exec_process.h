/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <uv.h>

#include "kube/config/config.h"

/*
 * Starts the plugin of `config` with our environment, the kubeconfig's variables and
 * KUBERNETES_EXEC_INFO, without standard input, as the leader of a session of its own. Returns 0 or
 * a negative errno. `process` is zeroed before; where it has a loop afterwards it is a handle, to
 * be closed also after an error. Silent.
 */
int exec_process_spawn(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		       int output_fd, int errors_fd, uv_exit_cb on_exit, uv_process_t *process);
