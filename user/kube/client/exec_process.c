/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/exec_process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kube/client/exec_credential.h"

static void environment_free(char **environment)
{
	for (char **variable = environment; environment && *variable; variable++)
		free(*variable);
	free(environment);
}

static void cleanup_environment(char ***environment)
{
	environment_free(*environment);
}

/* Replaces the variable of that name, or appends it. */
static bool environment_set(char **environment, const char *name, const char *value)
{
	size_t len = strlen(name);
	char *text;

	if (asprintf(&text, "%s=%s", name, value) < 0)
		return false;
	while (*environment && (strncmp(*environment, name, len) || (*environment)[len] != '='))
		environment++;
	free(*environment);
	*environment = text;
	return true;
}

/* Our environment, the kubeconfig's variables and KUBERNETES_EXEC_INFO. */
static char **environment_make(const struct kube_config *config, const char *ca_pem)
{
	auto_cleanup(cleanup_free) char *info = exec_info_make(config, ca_pem);
	auto_cleanup(cleanup_environment) char **environment = NULL;
	const struct kube_exec *exec = config->exec;
	size_t count = 0;

	while (environ[count])
		count++;
	environment = calloc(count + exec->environment_count + 2, sizeof(*environment));
	if (!environment || !info)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		environment[i] = strdup(environ[i]);
		if (!environment[i])
			return NULL;
	}
	for (size_t i = 0; i < exec->environment_count; i++) {
		if (!environment_set(environment, exec->environment[i].name,
				     exec->environment[i].value))
			return NULL;
	}
	return environment_set(environment, "KUBERNETES_EXEC_INFO", info) ? take_ptr(environment)
									  : NULL;
}

/* The strings of the array are borrowed. */
static char **arguments_make(const struct kube_exec *exec)
{
	char **arguments;
	size_t count = 0;

	while (exec->args && exec->args[count])
		count++;
	arguments = calloc(count + 2, sizeof(*arguments));
	if (!arguments)
		return NULL;
	arguments[0] = exec->command;
	for (size_t i = 0; i < count; i++)
		arguments[i + 1] = exec->args[i];
	return arguments;
}

int exec_process_spawn(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		       int output_fd, int errors_fd, uv_exit_cb on_exit, uv_process_t *process)
{
	auto_cleanup(cleanup_environment) char **environment = environment_make(config, ca_pem);
	auto_cleanup(cleanup_free) char **arguments = arguments_make(config->exec);
	uv_stdio_container_t stdio[] = {
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = output_fd},
		{.flags = UV_INHERIT_FD, .data.fd = errors_fd},
	};
	const uv_process_options_t options = {
		.exit_cb = on_exit,
		.file = config->exec->command,
		.args = arguments,
		.env = environment,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = sizeof(stdio) / sizeof(stdio[0]),
	};

	if (!environment || !arguments)
		return -ENOMEM;
	return uv_spawn(loop, process, &options);
}
