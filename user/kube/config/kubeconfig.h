/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A kubeconfig while it is read. Inside of the kubeconfig*.c files. */

#include <cjson/cJSON.h>

#include "kube/config/config.h"
#include "decode/field.h"

struct kubeconfig {
	struct decoder decoder; /* what is wrong, if anything is */
	char where[160];        /* the part at hand, "cluster \"a\": ", or "" */
	const char *folder;     /* the file's, absolute */
	const cJSON *cluster;   /* of the current context */
	struct kube_config *config;
};

/*
 * What must hold for a configuration with these servers: secrets do not go to another machine
 * unencrypted. Warns where nothing is encrypted. Logs. Returns 0 or -EINVAL.
 */
int kube_config_check(const struct kube_config *config, char *const *servers, size_t count);

/*
 * Each fills in its part of the configuration from the mapping of that name. What is wrong is in
 * the decoder then. Silent.
 */
void kubeconfig_cluster_read(struct kubeconfig *kubeconfig, const cJSON *cluster);
void kubeconfig_user_read(struct kubeconfig *kubeconfig, const cJSON *user);
void kubeconfig_exec_read(struct kubeconfig *kubeconfig, const cJSON *exec);

/*
 * The string in a field, or the file it names as an absolute path. NULL where there is none, it is
 * empty, or it is wrong. The caller owns it.
 */
char *kubeconfig_text(struct kubeconfig *kubeconfig, const cJSON *object, const char *name);
char *kubeconfig_file(struct kubeconfig *kubeconfig, const cJSON *object, const char *name);

/* A PEM text in the field `name`-data, or else the file in the field `name`. */
void kubeconfig_pem(struct kubeconfig *kubeconfig, const cJSON *object, const char *name,
		    char **ret_file, char **ret_pem);

/* `path`, put behind the kubeconfig's folder where it is relative. The caller frees. */
char *kubeconfig_path(struct kubeconfig *kubeconfig, const char *path);
