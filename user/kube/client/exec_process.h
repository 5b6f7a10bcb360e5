/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <uv.h>

#include "kube/config/config.h"

/*
 * Starts the plugin of `config` as a session leader, without standard input, with our environment,
 * the kubeconfig's variables and KUBERNETES_EXEC_INFO. `process` must be zeroed; if its `loop` is
 * set afterwards it is an open handle that the caller must close, even after an error. Returns 0 or
 * a negative errno. Silent.
 */
int exec_process_spawn(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		       int output_fd, int errors_fd, uv_exit_cb on_exit, uv_process_t *process);
