/* SPDX-License-Identifier: BSD-2-Clause */

/* A Pod's environment: two variables, and a folder with a token and the cluster's CA. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/config/config.h"

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define ORIGIN              "the Pod's service account"

/* Logs. */
static int in_cluster_fail(const char *missing)
{
	log_error("cannot find the API server: %s, so this is no Pod with a service account; "
		  "name a kubeconfig with --kubeconfig, the API server with --server, or a folder "
		  "of manifests with --manifests",
		  missing);
	return -ENOENT;
}

/* Sets `ret_path` to folder/name. Logs if the file cannot be read. */
static int in_cluster_find_file(const char *folder, const char *name, char **ret_path)
{
	auto_cleanup(cleanup_free) char *missing = NULL;

	if (asprintf(ret_path, "%s/%s", folder, name) < 0) {
		*ret_path = NULL;
		return log_err(-ENOMEM, "cannot read " ORIGIN);
	}
	if (!access(*ret_path, R_OK))
		return 0;
	if (asprintf(&missing, "%s cannot be read (%s)", *ret_path, strerror(errno)) < 0) {
		missing = NULL;
		return log_err(-ENOMEM, "cannot read " ORIGIN);
	}
	return in_cluster_fail(missing);
}

bool kube_is_in_cluster(void)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");

	return host && *host;
}

int kube_config_in_cluster(struct kube_config **ret_config)
{
	auto_cleanup(cleanup_kube_config) struct kube_config *config = calloc(1, sizeof(*config));
	auto_cleanup(cleanup_free) char *server = NULL;
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	const char *folder = getenv("FAIRLEAD_SERVICE_ACCOUNT_DIR");
	bool is_bare_ipv6;
	int err;

	if (config)
		config->origin = strdup(ORIGIN);
	if (!config || !config->origin)
		return log_err(-ENOMEM, "cannot read " ORIGIN);
	if (!host || !*host || !port || !*port)
		return in_cluster_fail(!host || !*host ? "KUBERNETES_SERVICE_HOST is not set"
						       : "KUBERNETES_SERVICE_PORT is not set");
	folder = folder && *folder ? folder : SERVICE_ACCOUNT_DIR;
	err = in_cluster_find_file(folder, "token", &config->token_file);
	if (err)
		return err;
	err = in_cluster_find_file(folder, "ca.crt", &config->ca_file);
	if (err)
		return err;
	is_bare_ipv6 = strchr(host, ':') && *host != '[';
	if (asprintf(&server, "https://%s%s%s:%s", is_bare_ipv6 ? "[" : "", host,
		     is_bare_ipv6 ? "]" : "", port) < 0) {
		server = NULL;
		return log_err(-ENOMEM, "cannot read " ORIGIN);
	}
	err = kube_config_set_servers(config, (const char *const *)&server, 1);
	if (err)
		return err;
	*ret_config = take_ptr(config);
	return 0;
}
