/* SPDX-License-Identifier: BSD-2-Clause */

/* The file as a whole: looks up the current context, and the cluster and user that it names. */

#include "kube/config/kubeconfig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kube/config/base64.h"
#include "kube/config/secret_text.h"
#include "base/log.h"
#include "base/file.h"
#include "decode/items.h"

#define KUBECONFIG_SIZE_MAX (16U << 20)

static void cleanup_cjson(cJSON **json)
{
	cJSON_Delete(*json);
}

static void kubeconfig_fini(struct kubeconfig *kubeconfig)
{
	decoder_fini(&kubeconfig->decoder);
}

static void cleanup_config(struct kube_config **config)
{
	kube_config_free(*config);
}

char *kubeconfig_text(struct kubeconfig *kubeconfig, const cJSON *object, const char *name)
{
	const char *text = field_string(&kubeconfig->decoder, object, name, "");
	char *own = *text ? strdup(text) : NULL;

	if (*text && !own)
		kubeconfig->decoder.err = -ENOMEM;
	return own;
}

char *kubeconfig_path(struct kubeconfig *kubeconfig, const char *path)
{
	const char *folder = *path == '/' ? "" : kubeconfig->folder;
	char *own = NULL;

	if (asprintf(&own, "%s%s%s", folder, *path == '/' ? "" : "/", path) < 0) {
		kubeconfig->decoder.err = -ENOMEM;
		return NULL;
	}
	return own;
}

char *kubeconfig_file(struct kubeconfig *kubeconfig, const cJSON *object, const char *name)
{
	const char *path = field_string(&kubeconfig->decoder, object, name, "");

	return *path ? kubeconfig_path(kubeconfig, path) : NULL;
}

void kubeconfig_pem(struct kubeconfig *kubeconfig, const cJSON *object, const char *name,
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

/* Enters a part of the file, which later messages name. */
static void part_enter(struct kubeconfig *kubeconfig, const char *kind, const char *name)
{
	(void)snprintf(kubeconfig->where, sizeof(kubeconfig->where), "%s \"%s\": ", kind, name);
	decoder_at(&kubeconfig->decoder, "");
}

/* Returns the member `kind` of the list element with that name. */
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
		part_enter(kubeconfig, kind, name);
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
	if (!decoder->err)
		kubeconfig_cluster_read(kubeconfig, kubeconfig->cluster);
	if (!*user || decoder->err)
		return;
	part = part_find(kubeconfig, root, "users", "user", user);
	if (part && !decoder->err)
		kubeconfig_user_read(kubeconfig, part);
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
		(void)log_err(0, "kubeconfig %s, line %u: %s", path, error.line, error.text);
	else if (err)
		(void)log_err(err, "cannot read the kubeconfig %s", path);
	return err;
}

/*
 * Makes `path` absolute without resolving symlinks: relative names start at the link's folder, not
 * at its target's.
 */
static char *path_absolute(const char *path)
{
	auto_cleanup(cleanup_free) char *folder = *path == '/' ? NULL : getcwd(NULL, 0);
	char *absolute = NULL;

	if (*path != '/' && !folder)
		return NULL;
	if (asprintf(&absolute, "%s%s%s", folder ? folder : "", folder ? "/" : "", path) < 0)
		return NULL;
	return absolute;
}

static char *path_folder(const char *absolute)
{
	const char *slash = strrchr(absolute, '/');

	return strndup(absolute, (size_t)(slash - absolute));
}

/* Logs. */
static int config_fill(const cJSON *root, const char *folder, struct kube_config *config)
{
	auto_cleanup(kubeconfig_fini) struct kubeconfig kubeconfig = {.folder = folder,
								      .config = config};

	root_read(&kubeconfig, root);
	if (kubeconfig.decoder.err == -EINVAL)
		(void)log_err(0, "kubeconfig %s: %s%s", config->origin, kubeconfig.where,
			      kubeconfig.decoder.text);
	else if (kubeconfig.decoder.err)
		(void)log_err(kubeconfig.decoder.err, "cannot read the kubeconfig %s",
			      config->origin);
	return kubeconfig.decoder.err;
}

int kube_config_load(const char *path, struct kube_config **ret_config)
{
	auto_cleanup(cleanup_config) struct kube_config *config = calloc(1, sizeof(*config));
	auto_cleanup(cleanup_free) char *absolute = path_absolute(path);
	auto_cleanup(cleanup_free) char *folder = absolute ? path_folder(absolute) : NULL;
	auto_cleanup(cleanup_cjson) cJSON *root = NULL;
	int err;

	if (config)
		config->origin = strdup(path);
	if (!config || !config->origin || !folder)
		return log_err(-ENOMEM, "cannot read the kubeconfig %s", path);
	err = document_read(path, &root);
	if (!err)
		err = config_fill(root, folder, config);
	if (!err)
		err = kube_config_check(config, config->servers, config->server_count);
	if (!err)
		*ret_config = take_ptr(config);
	return err;
}
