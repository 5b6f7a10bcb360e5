/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* kube-proxy's configuration file: KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1. */

#include <stdint.h>
#include <sys/types.h>

#include "config/kube_proxy_settings.h"
#include "base/name_list.h"

/* A regular file of more bytes is no configuration. */
#define CONFIG_SIZE_MAX (1U << 20)

/* Which file it was, and what was in it. */
struct config_mark {
	dev_t dev;
	ino_t inode;
	uint64_t hash;
};

/*
 * Reads the file at `path` (YAML or JSON). What it says goes to `ret_values`, which the caller
 * frees in any case; values are of the field's type and not looked at further. Fields that are not
 * known, or there twice (the last counts), are named in one line of the log and do no harm (rule
 * N154). `ret_meaningless` gets the fields that say something and mean nothing here. `ret_mark`
 * tells whether the file is still this one (config_watch.h). Logs one sentence with the file, the
 * line or the field, and what helps. Returns 0 or a negative errno.
 */
int kube_proxy_config_read(const char *path, struct setting_values *ret_values,
			   struct name_list *ret_meaningless, struct config_mark *ret_mark);
