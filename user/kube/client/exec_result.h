/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "kube/client/exec.h"

/*
 * The text that KUBERNETES_EXEC_INFO has for the plugin of `config`: an ExecCredential without
 * status. The caller frees; NULL where memory is short. Silent.
 */
char *exec_info_make(const struct kube_config *config, const char *ca_pem);

/*
 * Reads the ExecCredential that a plugin has printed. Returns 0, -EINVAL with `ret_why`, a sentence
 * without its subject, or -ENOMEM. Silent.
 */
int exec_result_read(const char *text, size_t size, const char *api_version,
		     struct kube_exec_result **ret_result, const char **ret_why);
