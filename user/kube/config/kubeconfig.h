/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A kubeconfig while it is read. Private to the kubeconfig*.c files. */

#include <cjson/cJSON.h>

#include "kube/config/config.h"
#include "decode/field.h"

struct kubeconfig {
	struct decoder decoder; /* the first error, if any */
	char where[160];        /* the part being read, "cluster \"a\": ", or "" */
	const char *folder;     /* the file's, absolute */
	const cJSON *cluster;   /* of the current context */
	struct kube_config *config;
};

/*
 * Checks a configuration with these servers: secrets must not leave this machine unencrypted. Warns
 * if a connection is not encrypted. Logs. Returns 0 or -EINVAL.
 */
int kube_config_check(const struct kube_config *config, char *const *servers, size_t count);

/*
 * Each fills in its part of the configuration from the mapping of that name, and leaves errors in
 * the decoder. Silent.
 */
void kubeconfig_cluster_read(struct kubeconfig *kubeconfig, const cJSON *cluster);
void kubeconfig_user_read(struct kubeconfig *kubeconfig, const cJSON *user);
void kubeconfig_exec_read(struct kubeconfig *kubeconfig, const cJSON *exec);

/*
 * The string in a field; or, as an absolute path, the file that it names. NULL if the field is
 * missing, empty or invalid. The caller owns it.
 */
char *kubeconfig_text(struct kubeconfig *kubeconfig, const cJSON *object, const char *name);
char *kubeconfig_file(struct kubeconfig *kubeconfig, const cJSON *object, const char *name);

/* Reads a PEM text from the field `name`-data, or else a file name from the field `name`. */
void kubeconfig_pem(struct kubeconfig *kubeconfig, const cJSON *object, const char *name,
		    char **ret_file, char **ret_pem);

/* `path`, prefixed with the kubeconfig's folder if it is relative. The caller frees it. */
char *kubeconfig_path(struct kubeconfig *kubeconfig, const char *path);
