/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Where the API server is and who we say we are: a kubeconfig's current context, or what a Pod is
 * given. Certificates and tokens are named, not read: they rotate (credentials.h reads them).
 */

#include <stdbool.h>
#include <stddef.h>

struct kube_variable {
	char *name, *value;
};

/* A program that tells the credentials (client.authentication.k8s.io). */
struct kube_exec {
	char *command; /* absolute, or to be found in PATH; relative to the kubeconfig's folder */
	char **args;   /* ends in NULL; may be NULL */
	struct kube_variable *environment;
	size_t environment_count;
	char *api_version; /* client.authentication.k8s.io/v1 or v1beta1 */
	char *install_hint;
	bool provide_cluster_info;
	char *cluster_config; /* JSON that the cluster's extensions have for it, or NULL */
};

/*
 * Of each pair of _file and _pem one is set or none is; files have absolute paths. A plugin is
 * there only where the user has no other credential, for then it would not be asked.
 */
struct kube_config {
	char *origin; /* for messages: "/etc/fairlead/kubeconfig" or "the Pod's service account" */
	char **servers; /* https://host:port[/prefix], without a slash at the end; IPv6 in
			   brackets. http:// only where it was written so */
	size_t server_count;
	char *ca_file, *ca_pem; /* none: the system's */
	char *tls_server_name;
	bool insecure; /* the file says so itself */
	char *proxy_url;
	char *token_file, *token; /* the file counts where it can be read */
	char *user, *password;
	char *client_cert_file, *client_cert_pem;
	char *client_key_file, *client_key_pem;
	struct kube_exec *exec;
};

/*
 * Reads a kubeconfig (YAML or JSON): the cluster and the user of its current context. What we do
 * not know in it is left alone, what kubectl refuses is refused, and file names in it are relative
 * to its folder. Logs what is wrong in one sentence that names the file and the field, and returns
 * a negative errno then.
 */
int kube_config_load(const char *path, struct kube_config **ret_config);

/*
 * What a Pod is given: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, and token and ca.crt in
 * /var/run/secrets/kubernetes.io/serviceaccount (FAIRLEAD_SERVICE_ACCOUNT_DIR names another folder,
 * for tests). Logs.
 */
int kube_config_in_cluster(struct kube_config **ret_config);

/* True if the environment is that of a Pod, as far as kube_config_in_cluster needs it. */
bool kube_is_in_cluster(void);

/*
 * The servers at these URLs and nothing else: no credentials, and the system's certificates where
 * they are https. Logs.
 */
int kube_config_from_servers(const char *const *servers, size_t count,
			     struct kube_config **ret_config);

/*
 * Puts `servers` (https URLs, from the command line) in place of the configuration's own, which
 * stay where this fails. Logs a URL that is none. Returns 0 or a negative errno.
 */
int kube_config_set_servers(struct kube_config *config, const char *const *servers, size_t count);

/* NULL is fine. */
void kube_config_free(struct kube_config *config);
