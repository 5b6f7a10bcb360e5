/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* ExecCredential (client.authentication.k8s.io): what a plugin receives, and what it prints. */

#include "kube/client/exec.h"

/*
 * The value of KUBERNETES_EXEC_INFO for the plugin of `config`: an ExecCredential without a status.
 * The caller frees it; NULL if memory is short. Silent.
 */
char *exec_credential_write(const struct kube_config *config, const char *ca_pem);

/*
 * Reads the ExecCredential that a plugin has printed. Returns 0, -EINVAL with `ret_why` (a sentence
 * without its subject), or -ENOMEM. Silent.
 */
int exec_credential_read(const char *text, size_t size, const char *api_version,
			 struct kube_exec_result **ret_result, const char **ret_why);
