/* SPDX-License-Identifier: BSD-2-Clause */

/* `users[].user.exec`: the program that supplies the credentials. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kube/config/kubeconfig.h"

#define API_GROUP "client.authentication.k8s.io/" /* also the prefix of the extension's name */

/* A bare name is looked up in PATH when the plugin is run. */
static void command_read(struct kubeconfig *kubeconfig, const cJSON *object, struct kube_exec *exec)
{
	const char *command = field_string(&kubeconfig->decoder, object, "command", "");

	if (!*command)
		decoder_fail(&kubeconfig->decoder, "command", "is missing");
	else if (strchr(command, '/'))
		exec->command = kubeconfig_path(kubeconfig, command);
	else
		exec->command = kubeconfig_text(kubeconfig, object, "command");
}

static void version_read(struct kubeconfig *kubeconfig, const cJSON *object, struct kube_exec *exec)
{
	exec->api_version = kubeconfig_text(kubeconfig, object, "apiVersion");
	if (!exec->api_version)
		decoder_fail(&kubeconfig->decoder, "apiVersion", "is missing");
	else if (strcmp(exec->api_version, API_GROUP "v1") &&
		 strcmp(exec->api_version, API_GROUP "v1beta1"))
		decoder_fail(&kubeconfig->decoder, "apiVersion",
			     "is %s, it must be " API_GROUP "v1 or " API_GROUP "v1beta1",
			     exec->api_version);
}

static void arguments_read(struct kubeconfig *kubeconfig, const cJSON *object,
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

static void environment_read(struct kubeconfig *kubeconfig, const cJSON *object,
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
static void cluster_config_read(struct kubeconfig *kubeconfig, struct kube_exec *exec)
{
	const cJSON *array = field_get(kubeconfig->cluster, "extensions");
	const cJSON *element;

	cJSON_ArrayForEach(element, array)
	{
		const char *name = cJSON_GetStringValue(field_get(element, "name"));
		const cJSON *extension = field_get(element, "extension");

		if (!name || strcmp(name, API_GROUP "exec") || !extension)
			continue;
		exec->cluster_config = cJSON_PrintUnformatted(extension);
		if (!exec->cluster_config)
			kubeconfig->decoder.err = -ENOMEM;
		return;
	}
}

void kubeconfig_exec_read(struct kubeconfig *kubeconfig, const cJSON *object)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_exec *exec = calloc(1, sizeof(*exec));

	kubeconfig->config->exec = exec;
	if (!exec) {
		decoder->err = -ENOMEM;
		return;
	}
	decoder_at(decoder, "exec");
	command_read(kubeconfig, object, exec);
	version_read(kubeconfig, object, exec);
	arguments_read(kubeconfig, object, exec);
	environment_read(kubeconfig, object, exec);
	exec->install_hint = kubeconfig_text(kubeconfig, object, "installHint");
	exec->provide_cluster_info = field_bool(decoder, object, "provideClusterInfo", false);
	if (exec->provide_cluster_info)
		cluster_config_read(kubeconfig, exec);
	if (!strcmp(field_string(decoder, object, "interactiveMode", ""), "Always"))
		decoder_fail(decoder, "interactiveMode",
			     "is Always, but an agent has nobody to ask: use a plugin that can do "
			     "without");
	decoder_at(decoder, "");
}
