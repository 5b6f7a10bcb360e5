/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Writes kube-proxy's settings in the format of its configuration file, for /configz and for a
 * file.
 */

#include <cjson/cJSON.h>

#include "config/kube_proxy_settings.h"

/*
 * Builds a KubeProxyConfiguration with every field that has a value or a default. The caller frees
 * it. NULL: memory is short.
 */
cJSON *kube_proxy_config_tree(const struct setting_values *values);

/* Writes that tree to a file as YAML. Logs. Returns 0 or a negative errno. */
int kube_proxy_config_write(const struct setting_values *values, const char *path);
