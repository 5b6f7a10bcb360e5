/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "kube/config/config.h"

/*
 * Fills in `config`, which is empty except for its `origin`, from the current context of the
 * kubeconfig at `path`: the cluster (the API server and how to verify its identity) and the user
 * (our credentials). On error it may be half filled in. Logs. Returns 0 or a negative errno.
 */
int kubeconfig_read(const char *path, struct kube_config *config);
