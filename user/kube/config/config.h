/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The API servers and the credentials for them, from a kubeconfig's current context or from a Pod's
 * environment. Certificates and tokens in files are named here, not read, because they rotate
 * (credentials.h reads them).
 */

#include <stdbool.h>
#include <stddef.h>

struct kube_variable {
	char *name, *value;
};

/* A program that supplies the credentials (client.authentication.k8s.io). */
struct kube_exec {
	char *command; /* a bare name is looked up in PATH; other paths are absolute */
	char **args;   /* ends in NULL; may be NULL */
	struct kube_variable *environment;
	size_t environment_count;
	char *api_version; /* client.authentication.k8s.io/v1 or v1beta1 */
	char *install_hint;
	bool provide_cluster_info;
	char *cluster_config; /* JSON from the cluster's extensions for the plugin, or NULL */
};

/*
 * Of each pair of _file and _pem at most one is set; files have absolute paths. `exec` is set only
 * if the user has no other credential, because those take precedence.
 */
struct kube_config {
	char *origin; /* for messages: "/etc/fairlead/kubeconfig" or "the Pod's service account" */
	char **servers; /* https://host:port[/prefix], no trailing slash, IPv6 in brackets;
			   http:// only if given explicitly */
	size_t server_count;
	char *ca_file, *ca_pem; /* neither: the system's CA certificates */
	char *tls_server_name;
	bool insecure; /* insecure-skip-tls-verify is set */
	char *proxy_url;
	char *token_file, *token; /* the file takes precedence if it can be read */
	char *user, *password;
	char *client_cert_file, *client_cert_pem;
	char *client_key_file, *client_key_pem;
	struct kube_exec *exec;
};

/*
 * Reads the cluster and the user of a kubeconfig's current context (YAML or JSON). Unknown fields
 * are ignored, whatever kubectl rejects is rejected, and relative paths start at the kubeconfig's
 * folder. Logs an error in one sentence that names the file and the field. Returns 0 or a negative
 * errno.
 */
int kube_config_load(const char *path, struct kube_config **ret_config);

/*
 * Reads a Pod's environment: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, and token and
 * ca.crt in /var/run/secrets/kubernetes.io/serviceaccount (FAIRLEAD_SERVICE_ACCOUNT_DIR names
 * another folder, for tests). Logs. Returns 0 or a negative errno.
 */
int kube_config_in_cluster(struct kube_config **ret_config);

/* True if the environment has what kube_config_in_cluster needs of a Pod. */
bool kube_is_in_cluster(void);

/*
 * A configuration of these servers only: no credentials, and the system's CA certificates for
 * https. Logs. Returns 0 or a negative errno.
 */
int kube_config_from_servers(const char *const *servers, size_t count,
			     struct kube_config **ret_config);

/*
 * Replaces the configuration's servers by `servers` (https URLs from the command line); on error
 * the configured ones stay. Logs an invalid URL. Returns 0 or a negative errno.
 */
int kube_config_set_servers(struct kube_config *config, const char *const *servers, size_t count);

/* NULL is fine. */
void kube_config_free(struct kube_config *config);

static inline void cleanup_kube_config(struct kube_config **config)
{
	kube_config_free(*config);
}
