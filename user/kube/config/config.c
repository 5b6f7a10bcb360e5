/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/config/kubeconfig.h"
#include "kube/config/server_url.h"

/* A client certificate does not count: without TLS it is never sent. */
static bool config_has_secret(const struct kube_config *config)
{
	return config->token || config->token_file || config->user || config->exec;
}

/*
 * Checks a configuration with these servers: secrets must not leave this machine unencrypted. Warns
 * if a connection is not encrypted. Logs. Returns 0 or -EINVAL.
 */
static int config_check(const struct kube_config *config, char *const *servers, size_t count)
{
	const char *plain = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!server_url_is_plain(servers[i]))
			continue;
		plain = servers[i];
		if (server_url_is_loopback(plain) || !config_has_secret(config))
			continue;
		log_error("the credentials of %s are not sent to %s, where everybody on the "
			  "way could read them: use https://",
			  config->origin, plain);
		return -EINVAL;
	}
	if (plain)
		log_warning("connections to %s are not encrypted, continuing", plain);
	return 0;
}

static void texts_free(char **texts, size_t count)
{
	for (size_t i = 0; texts && i < count; i++)
		free(texts[i]);
	free(texts);
}

/* Makes `servers` from what the command line says, and checks them. Logs. */
static int servers_make(const struct kube_config *config, const char *const *texts, size_t count,
			char **servers)
{
	for (size_t i = 0; i < count; i++) {
		const char *why = NULL;
		int err = server_url_make(texts[i], &servers[i], &why);

		if (err == -EINVAL)
			log_error("the API server's address %s %s", texts[i], why);
		else if (err)
			(void)log_err(err, "cannot use the API server %s", texts[i]);
		if (err)
			return err;
	}
	return config_check(config, servers, count);
}

int kube_config_set_servers(struct kube_config *config, const char *const *servers, size_t count)
{
	char **made = calloc(count ? count : 1, sizeof(*made));
	int err;

	if (!made)
		return log_err(-ENOMEM, "cannot keep the API servers' addresses");
	err = servers_make(config, servers, count, made);
	if (err) {
		texts_free(made, count);
		return err;
	}
	texts_free(config->servers, config->server_count);
	config->servers = made;
	config->server_count = count;
	return 0;
}

int kube_config_from_servers(const char *const *servers, size_t count,
			     struct kube_config **ret_config)
{
	auto_cleanup(cleanup_kube_config) struct kube_config *config = calloc(1, sizeof(*config));
	int err;

	if (config)
		config->origin = strdup("--server");
	if (!config || !config->origin)
		return log_err(-ENOMEM, "cannot keep the API servers' addresses");
	err = kube_config_set_servers(config, servers, count);
	if (err)
		return err;
	*ret_config = take_ptr(config);
	return 0;
}

int kube_config_load(const char *path, struct kube_config **ret_config)
{
	auto_cleanup(cleanup_kube_config) struct kube_config *config = calloc(1, sizeof(*config));
	int err;

	if (config)
		config->origin = strdup(path);
	if (!config || !config->origin)
		return log_err(-ENOMEM, "cannot read the kubeconfig %s", path);
	err = kubeconfig_read(path, config);
	if (err)
		return err;
	err = config_check(config, config->servers, config->server_count);
	if (err)
		return err;
	*ret_config = take_ptr(config);
	return 0;
}

static void exec_free(struct kube_exec *exec)
{
	if (!exec)
		return;
	for (char **argument = exec->args; argument && *argument; argument++)
		free(*argument);
	for (size_t i = 0; i < exec->environment_count; i++) {
		free(exec->environment[i].name);
		free(exec->environment[i].value);
	}
	free(exec->args);
	free(exec->environment);
	free(exec->command);
	free(exec->api_version);
	free(exec->install_hint);
	free(exec->cluster_config);
	free(exec);
}

void kube_config_free(struct kube_config *config)
{
	if (!config)
		return;
	texts_free(config->servers, config->server_count);
	exec_free(config->exec);
	free(config->origin);
	free(config->ca_file);
	free(config->ca_pem);
	free(config->tls_server_name);
	free(config->proxy_url);
	free(config->token_file);
	free(config->token);
	free(config->user);
	free(config->password);
	free(config->client_cert_file);
	free(config->client_cert_pem);
	free(config->client_key_file);
	free(config->client_key_pem);
	free(config);
}
