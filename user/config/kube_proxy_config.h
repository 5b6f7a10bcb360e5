/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* kube-proxy's configuration file: KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1. */

#include <cjson/cJSON.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/kube_proxy_settings.h"
#include "base/text.h"

/* A larger file is not a configuration. */
#define CONFIG_SIZE_MAX (1U << 20)

/* Identifies the file that was read, and its content. */
struct config_mark {
	dev_t dev;
	ino_t inode;
	uint64_t hash;
};

/*
 * Reads the file at `path` (YAML or JSON) into `ret_values`, which the caller frees in any case;
 * values have the type of their field and are not checked further. Unknown and duplicate fields
 * (the last one counts) are named in one log line and otherwise ignored (rule N154).
 * `ret_unused` receives the fields that are set but have no meaning here. `ret_mark` lets the
 * caller detect later changes of the file (config_watch.h). Logs one sentence with the file, the
 * line or field, and the fix. Returns 0 or a negative errno.
 */
int kube_proxy_config_read(const char *path, struct setting_values *ret_values,
			   struct name_list *ret_unused, struct config_mark *ret_mark);

/*
 * Builds a KubeProxyConfiguration with every field that has a value or a default. The caller frees
 * it. NULL: memory is short.
 */
cJSON *kube_proxy_config_tree(const struct setting_values *values);

/* Writes that tree to a file as YAML. Logs. Returns 0 or a negative errno. */
int kube_proxy_config_write(const struct setting_values *values, const char *path);
