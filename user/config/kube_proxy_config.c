/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/kube_proxy_config.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "base/text_set.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "config/yaml_write.h"
#include "decode/cjson.h"
#include "decode/items.h"

#define API_VERSION "kubeproxy.config.k8s.io/v1alpha1"
#define KIND        "KubeProxyConfiguration"
#define FIELD_SIZE  256
#define DEPTH_MAX   8

struct reading {
	const char *path;
	struct setting_values *values;
	struct name_list *unused;
	struct name_list unknown, twice;
};

/* Whether the value is what Go writes for a field that was never set. */
static bool is_zero(const cJSON *value)
{
	const char *text = cJSON_GetStringValue(value);
	const cJSON *child;

	if (text)
		return !*text || !strcmp(text, "0") || !strcmp(text, "0s");
	if (cJSON_IsNumber(value))
		return value->valuedouble == 0;
	if (cJSON_IsBool(value))
		return cJSON_IsFalse(value);
	cJSON_ArrayForEach(child, value)
	{
		if (!is_zero(child))
			return false;
	}
	return true;
}

/* Appends to a comma-separated list; if memory is short, the list becomes NULL. */
static void word_add(char **list, const char *name, const char *value)
{
	auto_cleanup(cleanup_free) char *old = take_ptr(*list);

	if (!old || asprintf(list, "%s%s%s%s", old, *old ? "," : "", name, value) < 0)
		*list = NULL;
}

/*
 * Joins an array of strings as "a,b", an object of booleans as "a=true,b=false". NULL: its items
 * have another type, or memory is short.
 */
static char *items_join(const cJSON *items)
{
	auto_cleanup(cleanup_free) char *list = strdup("");
	const cJSON *item;

	cJSON_ArrayForEach(item, items)
	{
		if (cJSON_IsArray(items) ? !cJSON_IsString(item) : !cJSON_IsBool(item))
			return NULL;
		if (cJSON_IsArray(items))
			word_add(&list, item->valuestring, "");
		else
			word_add(&list, item->string, cJSON_IsTrue(item) ? "=true" : "=false");
	}
	return take_ptr(list);
}

/*
 * The value as the text of the corresponding flag, which the caller frees; or NULL, with the
 * expected type in `ret_wanted`.
 */
static char *value_text(enum setting_kind kind, const cJSON *value, const char **ret_wanted)
{
	char *text = NULL;

	switch (kind) {
	case SETTING_KIND_BOOL:
		*ret_wanted = "true or false";
		return cJSON_IsBool(value) ? strdup(cJSON_IsTrue(value) ? "true" : "false") : NULL;
	case SETTING_KIND_NUMBER:
		*ret_wanted = "a whole number";
		if (!cJSON_IsNumber(value) || value->valuedouble != trunc(value->valuedouble))
			return NULL;
		return asprintf(&text, "%.0f", value->valuedouble) < 0 ? NULL : text;
	case SETTING_KIND_DECIMAL:
		*ret_wanted = "a number";
		if (!cJSON_IsNumber(value))
			return NULL;
		return asprintf(&text, "%g", value->valuedouble) < 0 ? NULL : text;
	case SETTING_KIND_NODEPORT_ADDRESSES:
	case SETTING_KIND_CIDR_LIST:
		*ret_wanted = "a list of strings";
		return cJSON_IsArray(value) ? items_join(value) : NULL;
	case SETTING_KIND_GATES:
		*ret_wanted = "a mapping of names to true or false";
		return cJSON_IsObject(value) ? items_join(value) : NULL;
	case SETTING_KIND_ANY:
		*ret_wanted = "JSON";
		return cJSON_PrintUnformatted(value);
	default:
		*ret_wanted = "a string";
		return cJSON_IsString(value) ? strdup(value->valuestring) : NULL;
	}
}

/* Logs. */
static int type_fail(const struct reading *reading, const char *field, const cJSON *value,
		     const char *wanted)
{
	auto_cleanup(cleanup_free) char *found = cJSON_PrintUnformatted(value);

	log_error("%s: %s is %.80s, it must be %s: correct the file", reading->path, field,
		  found ? found : "something else", wanted);
	return -EINVAL;
}

static int field_read(struct reading *reading, size_t id, const cJSON *value)
{
	const struct setting *setting = &settings[id];
	auto_cleanup(cleanup_free) char *text = NULL;
	const char *wanted = "";

	if (cJSON_IsNull(value))
		return 0;
	text = value_text(setting->kind, value, &wanted);
	if (!text)
		return type_fail(reading, setting->field, value, wanted);
	/* Of duplicate fields the last counts, even if its value is empty. */
	free(take_ptr(reading->values->texts[id]));
	if (is_zero(value) && setting->marks & SETTING_ZERO_IS_DEFAULT)
		return 0;
	if (setting_set(reading->values, id, text))
		return log_err(-ENOMEM, "cannot read %s", reading->path);
	if (!(setting->marks & SETTING_USED) && !is_zero(value) &&
	    (!setting->fallback || strcmp(setting->fallback, text) != 0))
		name_list_add(reading->unused, "", setting->field);
	return 0;
}

static int object_read(struct reading *reading, const cJSON *object, const char *above,
		       unsigned int depth)
{
	auto_cleanup(text_set_fini) struct text_set seen = {};
	const cJSON *member;

	cJSON_ArrayForEach(member, object)
	{
		char field[FIELD_SIZE];
		int id, err;

		(void)snprintf(field, sizeof(field), "%s%s%s", above, *above ? "." : "",
			       member->string);
		id = setting_of_field(field);
		err = text_set_add(&seen, member->string);
		if (err == -EEXIST)
			name_list_add(&reading->twice, "", field);
		else if (err)
			return log_err(err, "cannot read %s", reading->path);
		err = 0;
		if (id >= 0)
			err = field_read(reading, (size_t)id, member);
		else if (depth < DEPTH_MAX && setting_is_block(field) && cJSON_IsObject(member))
			err = object_read(reading, member, field, depth + 1);
		else if (setting_is_block(field) && !cJSON_IsNull(member))
			err = type_fail(reading, field, member, "a mapping");
		else if (!setting_is_block(field) &&
			 (depth || (strcmp(field, "kind") && strcmp(field, "apiVersion"))))
			name_list_add(&reading->unknown, "", field);
		if (err)
			return err;
	}
	return 0;
}

/* Logs. */
static int identity_check(const char *path, const cJSON *root)
{
	const char *kind = cjson_string(root, "kind");
	const char *version = cjson_string(root, "apiVersion");

	if (kind && version && !strcmp(kind, KIND) && !strcmp(version, API_VERSION))
		return 0;
	log_error("%s is %s of %s, but --config needs kind: " KIND " and apiVersion: " API_VERSION
		  " in it",
		  path, kind ? kind : "no kind", version ? version : "no apiVersion");
	return -EINVAL;
}

/* Logs. */
static int document_read(const char *path, cJSON **ret_root, struct config_mark *ret_mark)
{
	auto_cleanup(file_content_fini) struct file_content content = {};
	struct items_error error = {};
	struct stat st = {};
	int err;

	/* Before reading: a file that is replaced in between then counts as changed. */
	(void)stat(path, &st);
	err = file_read(path, CONFIG_SIZE_MAX, &content);
	if (err == -ENOENT) {
		log_error("there is no configuration file %s: write one with --write-config-to, "
			  "or leave --config out",
			  path);
		return err;
	}
	if (err)
		return log_err(err, "cannot read the configuration file %s", path);
	*ret_mark = (struct config_mark){st.st_dev, st.st_ino, content.hash};
	err = yaml_document_read(content.text, content.size, ret_root, &error);
	if (err == -EINVAL) {
		log_error("%s:%u: this is not YAML: %s; correct the file", path, error.line,
			  error.text);
		return err;
	}
	if (err)
		return log_err(err, "cannot read the configuration file %s", path);
	return 0;
}

int kube_proxy_config_read(const char *path, struct setting_values *ret_values,
			   struct name_list *ret_unused, struct config_mark *ret_mark)
{
	struct reading reading = {.path = path, .values = ret_values, .unused = ret_unused};
	const struct name_list *unknown = &reading.unknown, *twice = &reading.twice;
	auto_cleanup(cleanup_cjson) cJSON *root = NULL;
	int err;

	err = document_read(path, &root, ret_mark);
	if (err)
		return err;
	err = identity_check(path, root);
	if (err)
		return err;
	err = object_read(&reading, root, "", 0);
	if (err)
		return err;
	if (unknown->count || twice->count)
		log_warning("%s is read leniently:%s%s%s%s%s", path,
			    unknown->count ? " unknown fields, ignored: " : "", unknown->text,
			    unknown->count && twice->count ? ";" : "",
			    twice->count ? " duplicate fields, the last one counts: " : "",
			    twice->text);
	return 0;
}

/* "a,b" as an array of strings. */
static cJSON *list_tree(const char *text)
{
	auto_cleanup(cleanup_free) char *list = strdup(text);
	cJSON *array = cJSON_CreateArray();
	char *rest = list, *part;

	while (*text && (part = strsep(&rest, ",")))
		(void)cJSON_AddItemToArray(array, cJSON_CreateString(part));
	return array;
}

/* "a=true,b=false" as an object of booleans. */
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
	case SETTING_KIND_BOOL:
		return cJSON_CreateBool(setting_bool(values, id));
	case SETTING_KIND_NUMBER:
		return cJSON_CreateNumber(setting_number(values, id));
	case SETTING_KIND_DECIMAL:
		return cJSON_CreateNumber(strtod(text, NULL));
	case SETTING_KIND_NODEPORT_ADDRESSES:
	case SETTING_KIND_CIDR_LIST:
		return list_tree(text);
	case SETTING_KIND_GATES:
		return gates_tree(text);
	case SETTING_KIND_ANY:
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

	(void)cJSON_AddStringToObject(root, "apiVersion", API_VERSION);
	(void)cJSON_AddStringToObject(root, "kind", KIND);
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
