/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * `users[].user`: our credentials, exactly one of a token, a password and a plugin. A client
 * certificate may come with a token or a password.
 */

#include <errno.h>
#include <string.h>

#include "kube/config/kubeconfig.h"
#include "kube/config/secret_text.h"

static void certificate_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	struct kube_config *config = kubeconfig->config;
	bool has_cert, has_key;

	kubeconfig_pem(kubeconfig, user, "client-certificate", &config->client_cert_file,
		       &config->client_cert_pem);
	kubeconfig_pem(kubeconfig, user, "client-key", &config->client_key_file,
		       &config->client_key_pem);
	has_cert = config->client_cert_file || config->client_cert_pem;
	has_key = config->client_key_file || config->client_key_pem;
	if (has_cert && !has_key)
		decoder_fail(&kubeconfig->decoder, "client-key",
			     "is missing: the client-certificate is of no use without it");
	if (has_key && !has_cert)
		decoder_fail(&kubeconfig->decoder, "client-certificate",
			     "is missing: the client-key is of no use without it");
}

static void token_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	struct kube_config *config = kubeconfig->config;

	config->token = kubeconfig_text(kubeconfig, user, "token");
	config->token_file = kubeconfig_file(kubeconfig, user, "tokenFile");
	if (config->token && !token_is_plausible(config->token))
		decoder_fail(&kubeconfig->decoder, "token",
			     "has spaces or other characters that no token has");
}

static void password_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	struct kube_config *config = kubeconfig->config;

	config->user = kubeconfig_text(kubeconfig, user, "username");
	config->password = kubeconfig_text(kubeconfig, user, "password");
	if (config->password && !config->user)
		decoder_fail(&kubeconfig->decoder, "username", "is missing beside the password");
	if (config->user && strchr(config->user, ':'))
		decoder_fail(&kubeconfig->decoder, "username", "has a colon in it");
	if (config->user && (config->token || config->token_file))
		decoder_fail(&kubeconfig->decoder, "username",
			     "and a token are both given: remove one of them");
}

/* A plugin is used only if the user has no other credential, as in kubectl. */
static void program_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	const struct kube_config *config = kubeconfig->config;
	const cJSON *exec = field_object(&kubeconfig->decoder, user, "exec");

	if (field_get(user, "auth-provider"))
		decoder_fail(&kubeconfig->decoder, "auth-provider",
			     "was removed from Kubernetes in 1.26: use exec with the credential "
			     "plugin of your provider");
	if (exec && !config->token && !config->token_file && !config->user &&
	    !config->client_cert_file && !config->client_cert_pem)
		kubeconfig_exec_read(kubeconfig, exec);
}

void kubeconfig_user_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	certificate_read(kubeconfig, user);
	token_read(kubeconfig, user);
	password_read(kubeconfig, user);
	if (field_get(user, "as") || field_get(user, "as-uid") || field_get(user, "as-groups"))
		decoder_fail(&kubeconfig->decoder, "as",
			     "asks to act as somebody else, which an agent does not: remove it");
	program_read(kubeconfig, user);
}
