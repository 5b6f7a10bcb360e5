/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/credentials.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "kube/client/credential_file.h"
#include "kube/client/plugin.h"

#define CHECK_INTERVAL_NS NS_PER_S

enum file_role { FILE_TOKEN, FILE_CA, FILE_CLIENT_CERT, FILE_CLIENT_KEY, FILE_ROLE_COUNT };

struct kube_credentials {
	const struct kube_config *config;
	struct credential_file files[FILE_ROLE_COUNT];
	struct plugin *plugin; /* NULL: the user has no plugin */
	uint64_t checked_ns;   /* when the files were last checked; 0: read them at the next use */
	uint64_t revision;     /* of the files' certificates and keys */
};

int kube_credentials_open(uv_loop_t *loop, const struct kube_config *config,
			  void (*ready)(void *context), void *context,
			  struct kube_credentials **ret_credentials)
{
	struct kube_credentials *credentials = calloc(1, sizeof(*credentials));

	if (!credentials)
		return log_err(-ENOMEM, "cannot keep the credentials of %s", config->origin);
	*credentials = (struct kube_credentials){
		.config = config,
		.files = {[FILE_TOKEN] = {.path = config->token_file, .is_token = true},
			  [FILE_CA] = {.path = config->ca_file},
			  [FILE_CLIENT_CERT] = {.path = config->client_cert_file},
			  [FILE_CLIENT_KEY] = {.path = config->client_key_file}},
		.revision = 1,
	};
	if (config->exec) {
		credentials->plugin = plugin_open(loop, config, ready, context);
		if (!credentials->plugin) {
			kube_credentials_close(credentials);
			return log_err(-ENOMEM, "cannot keep the credentials of %s",
				       config->origin);
		}
	}
	*ret_credentials = credentials;
	return 0;
}

static void credentials_refresh_files(struct kube_credentials *credentials)
{
	uint64_t now = uv_hrtime();
	bool is_any_changed = false;

	if (credentials->checked_ns && now - credentials->checked_ns < CHECK_INTERVAL_NS)
		return;
	for (int role = 0; role < FILE_ROLE_COUNT; role++) {
		bool is_other = credential_file_refresh(&credentials->files[role],
							!credentials->checked_ns);

		is_any_changed |= is_other && role != FILE_TOKEN;
	}
	credentials->revision += is_any_changed;
	credentials->checked_ns = now;
}

/* The content of the file, or else the text given in the configuration. */
static const char *credentials_text(const struct kube_credentials *credentials, enum file_role role,
				    const char *own)
{
	const char *text = credentials->files[role].text;

	return text ? text : own;
}

/* The error of a file that is configured but has never been read successfully, or 0. */
static int credentials_files_err(const struct kube_credentials *credentials)
{
	for (int role = 0; role < FILE_ROLE_COUNT; role++) {
		const struct credential_file *file = &credentials->files[role];

		if (file->path && !file->text &&
		    (role != FILE_TOKEN || !credentials->config->token))
			return file->err;
	}
	return 0;
}

/* Adds what the plugin has supplied, in place of what the configuration has. */
static int credentials_add_plugin(struct kube_credentials *credentials,
				  struct kube_secrets *secrets)
{
	const struct kube_exec_result *result = NULL;
	int err = plugin_get(credentials->plugin, secrets->ca_pem, &result);

	if (err)
		return err;
	secrets->bearer = result->token;
	secrets->client_cert_pem = result->cert_pem;
	secrets->client_key_pem = result->key_pem;
	secrets->tls_revision += plugin_revision(credentials->plugin);
	return 0;
}

int kube_credentials_get(struct kube_credentials *credentials, struct kube_secrets *ret_secrets)
{
	const struct kube_config *config = credentials->config;
	struct kube_secrets secrets;
	int err;

	credentials_refresh_files(credentials);
	err = credentials_files_err(credentials);
	if (err)
		return err;
	secrets = (struct kube_secrets){
		.bearer = credentials_text(credentials, FILE_TOKEN, config->token),
		.user = config->user,
		.password = config->password,
		.ca_pem = credentials_text(credentials, FILE_CA, config->ca_pem),
		.client_cert_pem =
			credentials_text(credentials, FILE_CLIENT_CERT, config->client_cert_pem),
		.client_key_pem =
			credentials_text(credentials, FILE_CLIENT_KEY, config->client_key_pem),
		.tls_revision = credentials->revision,
	};
	if (credentials->plugin) {
		err = credentials_add_plugin(credentials, &secrets);
		if (err)
			return err;
	}
	*ret_secrets = secrets;
	return 0;
}

void kube_credentials_refuse(struct kube_credentials *credentials)
{
	credentials->checked_ns = 0;
	if (credentials->plugin)
		plugin_refuse(credentials->plugin);
}

void kube_credentials_close(struct kube_credentials *credentials)
{
	if (!credentials)
		return;
	for (int role = 0; role < FILE_ROLE_COUNT; role++)
		credential_file_fini(&credentials->files[role]);
	plugin_close(credentials->plugin);
	free(credentials);
}
