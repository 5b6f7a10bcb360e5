/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* kube-proxy's configuration file: KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1. */

#include "agent/kube_proxy_settings.h"
#include "agent/name_list.h"
#include "source/file.h"

/*
 * Reads the file at `path` (YAML or JSON). What it says goes to `ret_values`, which the caller
 * frees in any case; values are of the field's type and not looked at further. Fields that are not
 * known, or there twice (the last counts), are named in one line of the log and do no harm (rule
 * N154). `ret_meaningless` gets the fields that say something and mean nothing here. `ret_stamp`
 * tells whether the file is still this one. Logs one sentence with the file, the line or the field,
 * and what helps. Returns 0 or a negative errno.
 */
int kube_proxy_config_read(const char *path, struct setting_values *ret_values,
			   struct name_list *ret_meaningless, struct file_stamp *ret_stamp);
