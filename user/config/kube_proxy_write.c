/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/kube_proxy_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/yaml_write.h"
#include "base/cleanup.h"
#include "base/log.h"

static void cleanup_cjson(cJSON **json)
{
	cJSON_Delete(*json);
}

static cJSON *list_tree(const char *text)
{
	auto_cleanup(cleanup_free) char *list = strdup(text);
	cJSON *array = cJSON_CreateArray();
	char *rest = list, *part;

	while (*text && (part = strsep(&rest, ",")))
		(void)cJSON_AddItemToArray(array, cJSON_CreateString(part));
	return array;
}

static cJSON *gates_tree(const char *text)
{
	auto_cleanup(cleanup_free) char *list = strdup(text);
	cJSON *object = cJSON_CreateObject();
	char *rest = list, *name;

	while (*text && (name = strsep(&rest, ","))) {
		char *value = name;

		(void)strsep(&value, "=");
		(void)cJSON_AddBoolToObject(object, name, value && strchr("1tT", *value));
	}
	return object;
}

static cJSON *value_tree(const struct setting_values *values, size_t id)
{
	const char *text = setting_text(values, id);
	cJSON *any;

	switch (settings[id].kind) {
	case KIND_BOOL:
		return cJSON_CreateBool(setting_bool(values, id));
	case KIND_NUMBER:
		return cJSON_CreateNumber(setting_number(values, id));
	case KIND_DECIMAL:
		return cJSON_CreateNumber(strtod(text, NULL));
	case KIND_NODEPORT_ADDRESSES:
	case KIND_CIDR_LIST:
		return list_tree(text);
	case KIND_GATES:
		return gates_tree(text);
	case KIND_ANY:
		any = cJSON_Parse(text);
		return any ? any : cJSON_CreateString(text);
	default:
		return cJSON_CreateString(text);
	}
}

/* Inserts the value at a path such as "iptables.syncPeriod". */
static void value_place(cJSON *root, const char *field, cJSON *value)
{
	auto_cleanup(cleanup_free) char *path = strdup(field);
	char *name = path, *dot;

	while (name && (dot = strchr(name, '.'))) {
		cJSON *block;

		*dot = '\0';
		block = cJSON_GetObjectItemCaseSensitive(root, name);
		root = block ? block : cJSON_AddObjectToObject(root, name);
		name = dot + 1;
	}
	if (!name || !cJSON_AddItemToObject(root, name, value))
		cJSON_Delete(value);
}

cJSON *kube_proxy_config_tree(const struct setting_values *values)
{
	cJSON *root = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(root, "apiVersion", "kubeproxy.config.k8s.io/v1alpha1");
	(void)cJSON_AddStringToObject(root, "kind", "KubeProxyConfiguration");
	for (size_t id = 0; id < settings_count(); id++) {
		const struct setting *setting = &settings[id];

		if (setting->field && (values->texts[id] || setting->fallback))
			value_place(root, setting->field, value_tree(values, id));
	}
	return root;
}

/* Opens the path directly, so that /dev/stdout works. Silent. */
static int text_store(const char *text, const char *path)
{
	FILE *file = fopen(path, "we");
	bool is_written;

	if (!file)
		return -errno;
	errno = 0;
	is_written = fputs(text, file) >= 0;
	is_written = !fclose(file) && is_written;
	if (is_written)
		return 0;
	return errno ? -errno : -EIO;
}

int kube_proxy_config_write(const struct setting_values *values, const char *path)
{
	auto_cleanup(cleanup_cjson) cJSON *root = kube_proxy_config_tree(values);
	auto_cleanup(cleanup_free) char *text = root ? yaml_write(root) : NULL;
	int err = text ? text_store(text, path) : -ENOMEM;

	if (err)
		return log_err(err, "cannot write the configuration to %s", path);
	log_info("wrote the configuration to %s", path);
	return 0;
}
