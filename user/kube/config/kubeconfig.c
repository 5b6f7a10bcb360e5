/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A kubeconfig is a YAML (or JSON) file with lists of contexts, clusters and users, which refer to
 * each other by name. Reading goes on after an error: the decoder keeps the first one, and the end
 * of kubeconfig_read logs it.
 */

#include "kube/config/kubeconfig.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "decode/cjson.h"
#include "decode/field.h"
#include "decode/items.h"
#include "kube/config/base64.h"
#include "kube/config/secret_text.h"
#include "kube/config/server_url.h"

#define KUBECONFIG_SIZE_MAX (16U << 20)
#define EXEC_API_GROUP      "client.authentication.k8s.io/" /* and prefix of an extension's name */

/* A kubeconfig while it is read. */
struct kubeconfig {
	struct decoder decoder; /* the first error, if any */
	char where[160];        /* the part being read, "cluster \"a\": ", or "" */
	const char *folder;     /* the file's, absolute */
	const cJSON *cluster;   /* of the current context */
	struct kube_config *config;
};

static void kubeconfig_fini(struct kubeconfig *kubeconfig)
{
	decoder_fini(&kubeconfig->decoder);
}

/*
 * The string in a field. NULL if the field is missing, empty or invalid. The caller owns it, as it
 * owns the results of the next functions.
 */
static char *kubeconfig_text(struct kubeconfig *kubeconfig, const cJSON *object, const char *name)
{
	const char *text = field_string(&kubeconfig->decoder, object, name, "");
	char *own = *text ? strdup(text) : NULL;

	if (*text && !own)
		kubeconfig->decoder.err = -ENOMEM;
	return own;
}

/* `path`, prefixed with the kubeconfig's folder if it is relative. */
static char *kubeconfig_path(struct kubeconfig *kubeconfig, const char *path)
{
	const char *folder = *path == '/' ? "" : kubeconfig->folder;
	char *own = NULL;

	if (asprintf(&own, "%s%s%s", folder, *path == '/' ? "" : "/", path) < 0) {
		kubeconfig->decoder.err = -ENOMEM;
		return NULL;
	}
	return own;
}

/* The file that a field names, as an absolute path. NULL as for kubeconfig_text. */
static char *kubeconfig_file(struct kubeconfig *kubeconfig, const cJSON *object, const char *name)
{
	const char *path = field_string(&kubeconfig->decoder, object, name, "");

	return *path ? kubeconfig_path(kubeconfig, path) : NULL;
}

/* Reads a PEM text from the field `name`-data, or else a file name from the field `name`. */
static void kubeconfig_pem(struct kubeconfig *kubeconfig, const cJSON *object, const char *name,
			   char **ret_file, char **ret_pem)
{
	char data_name[64];
	const char *data;
	size_t size = 0;
	int err;

	(void)snprintf(data_name, sizeof(data_name), "%s-data", name);
	data = field_string(&kubeconfig->decoder, object, data_name, "");
	if (!*data) {
		*ret_file = kubeconfig_file(kubeconfig, object, name);
		return;
	}
	err = base64_decode(data, ret_pem, &size);
	if (err == -ENOMEM)
		kubeconfig->decoder.err = err;
	else if (err)
		decoder_fail(&kubeconfig->decoder, data_name, "is not base64");
	else if (!pem_is_plausible(*ret_pem, size))
		decoder_fail(&kubeconfig->decoder, data_name, "is not PEM behind its base64");
}

static void server_read(struct kubeconfig *kubeconfig, const cJSON *cluster)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_config *config = kubeconfig->config;
	const char *text = field_string(decoder, cluster, "server", "");
	const char *why = NULL;

	if (!*text)
		decoder_fail(decoder, "server", "is missing");
	if (decoder->err)
		return;
	config->servers = calloc(1, sizeof(*config->servers));
	if (!config->servers) {
		decoder->err = -ENOMEM;
		return;
	}
	switch (server_url_make(text, &config->servers[0], &why)) {
	case 0:
		config->server_count = 1;
		break;
	case -EINVAL:
		decoder_fail(decoder, "server", "%s", why);
		break;
	default:
		decoder->err = -ENOMEM;
	}
}

/* The schemes that client-go accepts. Messages do not quote the URL, which may hold a password. */
static bool proxy_is_usable(const char *text)
{
	static const char *const schemes[] = {"http", "https", "socks5"};
	CURLU *url = curl_url();
	char *scheme = NULL;
	bool usable = false;

	if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
	    curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
		for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
			usable |= !strcasecmp(scheme, schemes[i]);
	}
	curl_free(scheme);
	curl_url_cleanup(url);
	return usable;
}

/* `clusters[].cluster`: the API server's address and how to verify its identity. */
static void cluster_read(struct kubeconfig *kubeconfig, const cJSON *cluster)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_config *config = kubeconfig->config;

	server_read(kubeconfig, cluster);
	kubeconfig_pem(kubeconfig, cluster, "certificate-authority", &config->ca_file,
		       &config->ca_pem);
	config->tls_server_name = kubeconfig_text(kubeconfig, cluster, "tls-server-name");
	config->insecure = field_bool(decoder, cluster, "insecure-skip-tls-verify", false);
	config->proxy_url = kubeconfig_text(kubeconfig, cluster, "proxy-url");
	if (config->insecure && (config->ca_file || config->ca_pem))
		decoder_fail(decoder, "insecure-skip-tls-verify",
			     "is true, but there is a certificate-authority as well: remove one "
			     "of them");
	if (config->proxy_url && !proxy_is_usable(config->proxy_url))
		decoder_fail(decoder, "proxy-url",
			     "does not begin with http://, https:// or socks5://");
}

static void exec_arguments_read(struct kubeconfig *kubeconfig, const cJSON *object,
				struct kube_exec *exec)
{
	const cJSON *array = field_array(&kubeconfig->decoder, object, "args");
	const cJSON *argument;
	size_t count = 0;

	exec->args = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof(*exec->args));
	cJSON_ArrayForEach(argument, array)
	{
		const char *text = cJSON_GetStringValue(argument);

		if (!text)
			decoder_fail(&kubeconfig->decoder, "args",
				     "has an element that is not a string (put it in quotes)");
		if (!text || !exec->args)
			break;
		exec->args[count] = strdup(text);
		if (!exec->args[count++])
			kubeconfig->decoder.err = -ENOMEM;
	}
	if (!exec->args)
		kubeconfig->decoder.err = -ENOMEM;
}

static void exec_environment_read(struct kubeconfig *kubeconfig, const cJSON *object,
				  struct kube_exec *exec)
{
	struct decoder *decoder = &kubeconfig->decoder;
	const cJSON *array = field_array(decoder, object, "env");
	const cJSON *element;

	if (!array || !cJSON_GetArraySize(array))
		return;
	exec->environment = calloc((size_t)cJSON_GetArraySize(array), sizeof(*exec->environment));
	if (!exec->environment) {
		decoder->err = -ENOMEM;
		return;
	}
	cJSON_ArrayForEach(element, array)
	{
		struct kube_variable *variable = &exec->environment[exec->environment_count];
		const char *value;

		decoder_at_index(decoder, "exec.env", exec->environment_count++);
		value = field_string(decoder, element, "value", "");
		variable->name = kubeconfig_text(kubeconfig, element, "name");
		variable->value = strdup(value);
		if (!variable->name)
			decoder_fail(decoder, "name", "is missing");
		if (!variable->value)
			decoder->err = -ENOMEM;
	}
	decoder_at(decoder, "exec");
}

/*
 * The configuration that the cluster's administrator passes to the plugin, in an extension with a
 * reserved name.
 */
static void exec_cluster_config_read(struct kubeconfig *kubeconfig, struct kube_exec *exec)
{
	const cJSON *array = field_get(kubeconfig->cluster, "extensions");
	const cJSON *element;

	cJSON_ArrayForEach(element, array)
	{
		const char *name = cJSON_GetStringValue(field_get(element, "name"));
		const cJSON *extension = field_get(element, "extension");

		if (!name || strcmp(name, EXEC_API_GROUP "exec") || !extension)
			continue;
		exec->cluster_config = cJSON_PrintUnformatted(extension);
		if (!exec->cluster_config)
			kubeconfig->decoder.err = -ENOMEM;
		return;
	}
}

/* `users[].user.exec`: the program that supplies the credentials. */
static void exec_read(struct kubeconfig *kubeconfig, const cJSON *object)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_exec *exec = calloc(1, sizeof(*exec));
	const char *command;

	kubeconfig->config->exec = exec;
	if (!exec) {
		decoder->err = -ENOMEM;
		return;
	}
	decoder_at(decoder, "exec");
	/* A bare name is looked up in PATH when the plugin is run. */
	command = field_string(decoder, object, "command", "");
	if (!*command)
		decoder_fail(decoder, "command", "is missing");
	else if (strchr(command, '/'))
		exec->command = kubeconfig_path(kubeconfig, command);
	else
		exec->command = kubeconfig_text(kubeconfig, object, "command");
	exec->api_version = kubeconfig_text(kubeconfig, object, "apiVersion");
	if (!exec->api_version)
		decoder_fail(decoder, "apiVersion", "is missing");
	else if (strcmp(exec->api_version, EXEC_API_GROUP "v1") &&
		 strcmp(exec->api_version, EXEC_API_GROUP "v1beta1"))
		decoder_fail(decoder, "apiVersion",
			     "is %s, it must be " EXEC_API_GROUP "v1 or " EXEC_API_GROUP "v1beta1",
			     exec->api_version);
	exec_arguments_read(kubeconfig, object, exec);
	exec_environment_read(kubeconfig, object, exec);
	exec->install_hint = kubeconfig_text(kubeconfig, object, "installHint");
	exec->provide_cluster_info = field_bool(decoder, object, "provideClusterInfo", false);
	if (exec->provide_cluster_info)
		exec_cluster_config_read(kubeconfig, exec);
	if (!strcmp(field_string(decoder, object, "interactiveMode", ""), "Always"))
		decoder_fail(decoder, "interactiveMode",
			     "is Always, but an agent has nobody to ask: use a plugin that can do "
			     "without");
	decoder_at(decoder, "");
}

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

static void token_or_password_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_config *config = kubeconfig->config;

	config->token = kubeconfig_text(kubeconfig, user, "token");
	config->token_file = kubeconfig_file(kubeconfig, user, "tokenFile");
	if (config->token && !token_is_plausible(config->token))
		decoder_fail(decoder, "token", "has spaces or other characters that no token has");
	config->user = kubeconfig_text(kubeconfig, user, "username");
	config->password = kubeconfig_text(kubeconfig, user, "password");
	if (config->password && !config->user)
		decoder_fail(decoder, "username", "is missing beside the password");
	if (config->user && strchr(config->user, ':'))
		decoder_fail(decoder, "username", "has a colon in it");
	if (config->user && (config->token || config->token_file))
		decoder_fail(decoder, "username", "and a token are both given: remove one of them");
}

/*
 * `users[].user`: our credentials, exactly one of a token, a password and a plugin. A client
 * certificate may come with a token or a password.
 */
static void user_read(struct kubeconfig *kubeconfig, const cJSON *user)
{
	struct decoder *decoder = &kubeconfig->decoder;
	const struct kube_config *config = kubeconfig->config;
	const cJSON *exec;

	certificate_read(kubeconfig, user);
	token_or_password_read(kubeconfig, user);
	if (field_get(user, "as") || field_get(user, "as-uid") || field_get(user, "as-groups"))
		decoder_fail(decoder, "as",
			     "asks to act as somebody else, which an agent does not: remove it");
	/* A plugin is used only if the user has no other credential, as in kubectl. */
	exec = field_object(decoder, user, "exec");
	if (field_get(user, "auth-provider"))
		decoder_fail(decoder, "auth-provider",
			     "was removed from Kubernetes in 1.26: use exec with the credential "
			     "plugin of your provider");
	if (exec && !config->token && !config->token_file && !config->user &&
	    !config->client_cert_file && !config->client_cert_pem)
		exec_read(kubeconfig, exec);
}

/*
 * Returns the member `kind` of the list element with that name, and enters that part of the file,
 * which later messages name.
 */
static const cJSON *part_find(struct kubeconfig *kubeconfig, const cJSON *root, const char *list,
			      const char *kind, const char *name)
{
	const cJSON *array = field_array(&kubeconfig->decoder, root, list);
	const cJSON *element;

	cJSON_ArrayForEach(element, array)
	{
		const char *own = cJSON_GetStringValue(field_get(element, "name"));

		if (!own || strcmp(own, name))
			continue;
		(void)snprintf(kubeconfig->where, sizeof(kubeconfig->where), "%s \"%s\": ", kind,
			       name);
		decoder_at(&kubeconfig->decoder, "");
		return field_object(&kubeconfig->decoder, element, kind);
	}
	decoder_fail(&kubeconfig->decoder, list, "has no \"%s\"", name);
	return NULL;
}

/* `context` names a cluster and, unless the server needs no authentication, a user. */
static void context_read(struct kubeconfig *kubeconfig, const cJSON *root, const cJSON *context)
{
	struct decoder *decoder = &kubeconfig->decoder;
	const char *cluster = field_string(decoder, context, "cluster", "");
	const char *user = field_string(decoder, context, "user", "");
	const cJSON *part;

	if (!*cluster)
		decoder_fail(decoder, "cluster", "is missing");
	if (decoder->err)
		return;
	kubeconfig->cluster = part_find(kubeconfig, root, "clusters", "cluster", cluster);
	if (decoder->err)
		return;
	cluster_read(kubeconfig, kubeconfig->cluster);
	if (!*user || decoder->err)
		return;
	part = part_find(kubeconfig, root, "users", "user", user);
	if (part && !decoder->err)
		user_read(kubeconfig, part);
}

static void root_read(struct kubeconfig *kubeconfig, const cJSON *root)
{
	struct decoder *decoder = &kubeconfig->decoder;
	const char *kind, *current;
	const cJSON *context;

	decoder_at(decoder, "");
	if (!cJSON_IsObject(root)) {
		decoder_fail(decoder, "it", "is not a mapping");
		return;
	}
	kind = field_string(decoder, root, "kind", "Config");
	current = field_string(decoder, root, "current-context", "");
	if (strcmp(kind, "Config"))
		decoder_fail(decoder, "kind", "is %s, it must be Config", kind);
	if (!*current)
		decoder_fail(decoder, "current-context", "is missing: name one of its contexts");
	if (decoder->err)
		return;
	context = part_find(kubeconfig, root, "contexts", "context", current);
	if (!decoder->err)
		context_read(kubeconfig, root, context);
}

/* Logs. */
static int document_read(const char *path, cJSON **ret_root)
{
	auto_cleanup(file_content_fini) struct file_content content = {};
	struct items_error error = {};
	int err = file_read(path, KUBECONFIG_SIZE_MAX, &content);

	if (err)
		return log_err(err, "cannot read the kubeconfig %s", path);
	err = yaml_document_read(content.text, content.size, ret_root, &error);
	if (err == -EINVAL)
		log_error("kubeconfig %s, line %u: %s", path, error.line, error.text);
	else if (err)
		(void)log_err(err, "cannot read the kubeconfig %s", path);
	return err;
}

/*
 * The absolute path of the folder that `path` is in, without resolving symlinks: relative names
 * start at the link's folder, not at its target's. The caller frees it; NULL if there is no memory
 * or no current folder.
 */
static char *path_folder(const char *path)
{
	auto_cleanup(cleanup_free) char *current = *path == '/' ? NULL : getcwd(NULL, 0);
	auto_cleanup(cleanup_free) char *absolute = NULL;

	if (*path != '/' && !current)
		return NULL;
	if (asprintf(&absolute, "%s%s%s", current ? current : "", current ? "/" : "", path) < 0) {
		absolute = NULL;
		return NULL;
	}
	return strndup(absolute, (size_t)(strrchr(absolute, '/') - absolute));
}

int kubeconfig_read(const char *path, struct kube_config *config)
{
	auto_cleanup(kubeconfig_fini) struct kubeconfig kubeconfig = {.config = config};
	auto_cleanup(cleanup_free) char *folder = path_folder(path);
	auto_cleanup(cleanup_cjson) cJSON *root = NULL;
	const struct decoder *decoder = &kubeconfig.decoder;
	int err;

	if (!folder)
		return log_err(-ENOMEM, "cannot read the kubeconfig %s", path);
	kubeconfig.folder = folder;
	err = document_read(path, &root);
	if (err)
		return err;
	root_read(&kubeconfig, root);
	if (decoder->err == -EINVAL)
		log_error("kubeconfig %s: %s%s", path, kubeconfig.where, decoder->text);
	else if (decoder->err)
		(void)log_err(decoder->err, "cannot read the kubeconfig %s", path);
	return decoder->err;
}
