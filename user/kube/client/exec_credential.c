/* SPDX-License-Identifier: BSD-2-Clause */

/* ExecCredential: a plugin receives one without a status and prints one with it. */

#include "kube/client/exec_credential.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "decode/cjson.h"
#include "kube/config/base64.h"
#include "kube/config/secret_text.h"

#define S_PER_HOUR   3600
#define S_PER_MINUTE 60

/* Adds a string member, or nothing if `text` is NULL. False if memory is short. */
static bool text_add(cJSON *object, const char *name, const char *text)
{
	return !text || cJSON_AddStringToObject(object, name, text);
}

static bool cluster_fill(cJSON *cluster, const struct kube_config *config, const char *ca_pem)
{
	auto_cleanup(cleanup_free) char *ca = ca_pem ? base64_encode(ca_pem, strlen(ca_pem)) : NULL;
	const char *extension = config->exec->cluster_config;
	cJSON *parsed = extension ? cJSON_Parse(extension) : NULL;

	if (parsed && !cJSON_AddItemToObject(cluster, "config", parsed)) {
		cJSON_Delete(parsed);
		return false;
	}
	return (!extension || parsed) && (!ca_pem || ca) &&
	       text_add(cluster, "server", config->server_count ? config->servers[0] : NULL) &&
	       text_add(cluster, "tls-server-name", config->tls_server_name) &&
	       text_add(cluster, "certificate-authority-data", ca) &&
	       text_add(cluster, "proxy-url", config->proxy_url) &&
	       (!config->insecure || cJSON_AddTrueToObject(cluster, "insecure-skip-tls-verify"));
}

char *exec_credential_write(const struct kube_config *config, const char *ca_pem)
{
	auto_cleanup(cleanup_cjson) cJSON *root = cJSON_CreateObject();
	cJSON *spec, *cluster;

	if (!text_add(root, "kind", "ExecCredential") ||
	    !text_add(root, "apiVersion", config->exec->api_version))
		return NULL;
	spec = cJSON_AddObjectToObject(root, "spec");
	if (!cJSON_AddFalseToObject(spec, "interactive"))
		return NULL;
	if (config->exec->provide_cluster_info) {
		cluster = cJSON_AddObjectToObject(spec, "cluster");
		if (!cluster || !cluster_fill(cluster, config, ca_pem))
			return NULL;
	}
	return cJSON_PrintUnformatted(root);
}

/* RFC 3339: "2030-01-31T12:00:00Z", optionally with a fraction or an offset from UTC. */
static bool time_parse(const char *text, time_t *ret_time)
{
	unsigned int hours = 0, minutes = 0;
	int end = 0;
	struct tm tm = {};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest)
		return false;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	*ret_time = timegm(&tm);
	if (!strcmp(rest, "Z"))
		return true;
	if ((*rest != '+' && *rest != '-') ||
	    sscanf(rest + 1, "%2u:%2u%n", &hours, &minutes, &end) != 2 || rest[1 + end])
		return false;
	*ret_time +=
		(*rest == '-' ? 1 : -1) * (time_t)(hours * S_PER_HOUR + minutes * S_PER_MINUTE);
	return true;
}

/* A non-empty string, or NULL. */
static const char *text_get(const cJSON *object, const char *name)
{
	const char *text = cjson_string(object, name);

	return text && *text ? text : NULL;
}

static const char *root_problem(const cJSON *root, const char *api_version)
{
	const char *kind = text_get(root, "kind");
	const char *version = text_get(root, "apiVersion");

	if (!cJSON_IsObject(root) || !kind || strcmp(kind, "ExecCredential"))
		return "has printed something else than an ExecCredential as JSON";
	if (!version || strcmp(version, api_version))
		return "has printed an ExecCredential of another apiVersion than the kubeconfig "
		       "asks for";
	if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(root, "status")))
		return "has printed an ExecCredential without a status";
	return NULL;
}

static const char *status_problem(const cJSON *status)
{
	const char *token = text_get(status, "token");
	const char *cert = text_get(status, "clientCertificateData");
	const char *key = text_get(status, "clientKeyData");

	if (!token && !cert && !key)
		return "has printed neither a token nor a client certificate with its key";
	if (!cert != !key)
		return "has printed a client certificate without its key, or a key without its "
		       "certificate";
	if (token && !token_is_plausible(token))
		return "has printed a token with spaces or other characters that no token has";
	if (cert && (!pem_is_plausible(cert, strlen(cert)) || !pem_is_plausible(key, strlen(key))))
		return "has printed a client certificate or key that is not PEM";
	return NULL;
}

/* Copies the string if there is one; false if memory is short. */
static bool text_dup(const cJSON *status, const char *name, char **ret_copy)
{
	const char *text = text_get(status, name);

	*ret_copy = text ? strdup(text) : NULL;
	return !text || *ret_copy;
}

static int status_read(const cJSON *status, struct kube_exec_result **ret_result,
		       const char **ret_why)
{
	auto_cleanup(cleanup_kube_exec_result) struct kube_exec_result *result =
		calloc(1, sizeof(*result));
	const char *expires = text_get(status, "expirationTimestamp");

	if (!result || !text_dup(status, "token", &result->token) ||
	    !text_dup(status, "clientCertificateData", &result->cert_pem) ||
	    !text_dup(status, "clientKeyData", &result->key_pem))
		return -ENOMEM;
	if (expires && !time_parse(expires, &result->expires_at)) {
		*ret_why = "has printed an expirationTimestamp that is no time of RFC 3339";
		return -EINVAL;
	}
	result->expires = expires;
	*ret_result = take_ptr(result);
	return 0;
}

int exec_credential_read(const char *text, size_t size, const char *api_version,
			 struct kube_exec_result **ret_result, const char **ret_why)
{
	auto_cleanup(cleanup_cjson) cJSON *root = cJSON_ParseWithLength(text, size);
	const cJSON *status;

	*ret_why = root_problem(root, api_version);
	if (*ret_why)
		return -EINVAL;
	status = cJSON_GetObjectItemCaseSensitive(root, "status");
	*ret_why = status_problem(status);
	return *ret_why ? -EINVAL : status_read(status, ret_result, ret_why);
}

void kube_exec_result_free(struct kube_exec_result *result)
{
	if (!result)
		return;
	free(result->token);
	free(result->cert_pem);
	free(result->key_pem);
	free(result);
}
