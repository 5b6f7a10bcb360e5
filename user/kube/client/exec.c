/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A run is over when the program has exited and both of its outputs are closed, or earlier if it
 * exceeds its time limit or prints too much. The program leads a process group of its own, so that
 * its children can be killed with it. The run is freed once libuv has closed all its handles; the
 * process handle is not closed before the process has exited, or that would stay a zombie.
 */

#include "kube/client/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/client/exec_credential.h"

#define OUTPUT_SIZE_MAX (1U << 20)
#define ERRORS_SIZE_MAX 1024U /* only the beginning of standard error is kept */
#define CHUNK_SIZE      16384U
#define WHY_SIZE        640
#define FIRST_LINE_MAX  256

struct exec_output {
	uv_pipe_t pipe;
	char *text;
	size_t size, size_max;
	bool is_closed;
};

struct kube_exec_run {
	uv_process_t process;
	uv_timer_t timer;
	struct exec_output output, errors;
	char chunk[CHUNK_SIZE];

	char *api_version, *install_hint;
	uint64_t timeout_ms;
	kube_exec_done *done; /* NULL: it was called, or the run was cancelled */
	void *context;

	unsigned int handle_count; /* handles that libuv has not closed yet */
	bool has_process;          /* the process is running */
	bool is_over;              /* the run has ended; its handles are closing */
	int start_err;
	int64_t exit_status;
	int exit_signal;
};

static void exec_run_free(struct kube_exec_run *run)
{
	free(run->output.text);
	free(run->errors.text);
	free(run->api_version);
	free(run->install_hint);
	free(run);
}

static void exec_run_on_closed(uv_handle_t *handle)
{
	struct kube_exec_run *run = handle->data;

	if (!--run->handle_count)
		exec_run_free(run);
}

static void exec_close_handle(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, exec_run_on_closed);
}

/* Closes all handles, except that of a running process, which is killed. */
static void exec_run_close(struct kube_exec_run *run)
{
	run->is_over = true;
	run->done = NULL;
	exec_close_handle(&run->timer);
	exec_close_handle(&run->output.pipe);
	exec_close_handle(&run->errors.pipe);
	if (run->has_process)
		(void)kill(-run->process.pid, SIGKILL);
	else if (run->process.loop)
		exec_close_handle(&run->process);
}

/*
 * Calls `done` last: the receiver may do anything, even free the object that the run was started
 * for.
 */
static void exec_run_end(struct kube_exec_run *run, struct kube_exec_result *result,
			 const char *why)
{
	kube_exec_done *done = run->done;
	void *context = run->context;

	exec_run_close(run);
	done(result, why, context);
}

static void exec_run_fail(struct kube_exec_run *run, const char *why)
{
	exec_run_end(run, NULL, why);
}

/* Replaces control characters by spaces, for a message of one line. */
static void text_flatten(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ')
			*text = ' ';
	}
}

/* The program has exited with an error or was killed by a signal. */
static void exec_run_fail_exit(struct kube_exec_run *run)
{
	const char *said = run->errors.size ? run->errors.text : "";
	char line[FIRST_LINE_MAX], why[WHY_SIZE];

	said += strspn(said, "\r\n\t ");
	(void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(said, "\r\n"), said);
	text_flatten(line);
	(void)snprintf(why, sizeof(why), "%s %d%s%s",
		       run->exit_signal ? "was killed by signal" : "ended with status",
		       run->exit_signal ? run->exit_signal : (int)run->exit_status,
		       *line ? ", saying: " : "", line);
	exec_run_fail(run, why);
}

/* Ends the run once the process has exited and both outputs are closed. */
static void exec_run_end_if_complete(struct kube_exec_run *run)
{
	struct kube_exec_result *result = NULL;
	const char *why = "";
	int err;

	if (run->is_over || run->has_process || !run->output.is_closed || !run->errors.is_closed)
		return;
	if (run->exit_status || run->exit_signal) {
		exec_run_fail_exit(run);
		return;
	}
	err = exec_credential_read(run->output.size ? run->output.text : "", run->output.size,
				   run->api_version, &result, &why);
	if (err)
		exec_run_fail(run,
			      err == -EINVAL ? why : "has printed more than there is memory for");
	else
		exec_run_end(run, result, NULL);
}

static void exec_run_on_exit(uv_process_t *process, int64_t exit_status, int exit_signal)
{
	struct kube_exec_run *run = process->data;

	run->has_process = false;
	run->exit_status = exit_status;
	run->exit_signal = exit_signal;
	if (run->is_over)
		exec_close_handle(process);
	else
		exec_run_end_if_complete(run);
}

/* One buffer serves both pipes: each chunk is copied before the next one is read. */
static void exec_run_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct kube_exec_run *run = handle->data;

	(void)suggested;
	*ret_buf = uv_buf_init(run->chunk, sizeof(run->chunk));
}

/* Appends as much as fits, NUL-terminated. Returns 0, -EFBIG or -ENOMEM. */
static int exec_output_append(struct exec_output *output, const char *bytes, size_t size)
{
	size_t room = output->size_max - output->size;
	size_t kept = size < room ? size : room;
	char *text = realloc(output->text, output->size + kept + 1);

	if (!text)
		return -ENOMEM;
	memcpy(text + output->size, bytes, kept);
	output->text = text;
	output->size += kept;
	output->text[output->size] = '\0';
	return kept < size ? -EFBIG : 0;
}

static void exec_run_on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
	struct kube_exec_run *run = stream->data;
	struct exec_output *output =
		stream == (uv_stream_t *)&run->output.pipe ? &run->output : &run->errors;
	int err;

	if (len < 0) {
		(void)uv_read_stop(stream);
		output->is_closed = true;
		exec_run_end_if_complete(run);
		return;
	}
	err = exec_output_append(output, buf->base, (size_t)len);
	if (err == -EFBIG && output == &run->output)
		exec_run_fail(run, "prints more than 1 MiB");
	else if (err == -ENOMEM)
		exec_run_fail(run, "has printed more than there is memory for");
}

static void exec_run_fail_start(struct kube_exec_run *run)
{
	const char *hint = run->install_hint ? run->install_hint : "";
	char why[WHY_SIZE];

	if (run->start_err == -ENOENT)
		(void)snprintf(why, sizeof(why), "cannot be found%s%s", *hint ? ": " : "", hint);
	else
		(void)snprintf(why, sizeof(why), "cannot be run: %s", strerror(-run->start_err));
	text_flatten(why);
	exec_run_fail(run, why);
}

static void exec_run_on_timer(uv_timer_t *timer)
{
	struct kube_exec_run *run = timer->data;
	char why[WHY_SIZE];

	if (run->start_err) {
		exec_run_fail_start(run);
		return;
	}
	(void)snprintf(why, sizeof(why), "has not ended within %g s and was killed",
		       (double)run->timeout_ms / MS_PER_S);
	exec_run_fail(run, why);
}

/* Opens a pipe: the loop owns the reading end, `ret_fd` is the program's writing end. */
static int exec_output_open(struct exec_output *output, int *ret_fd)
{
	uv_file fds[2];
	int err = uv_pipe(fds, UV_NONBLOCK_PIPE, 0);

	if (err)
		return err;
	*ret_fd = fds[1];
	err = uv_pipe_open(&output->pipe, fds[0]);
	if (err)
		(void)close(fds[0]);
	return err;
}

static void cleanup_environment(char ***environment)
{
	for (char **variable = *environment; variable && *variable; variable++)
		free(*variable);
	free(*environment);
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
	auto_cleanup(cleanup_free) char *info = exec_credential_write(config, ca_pem);
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

/*
 * Starts the program as a session leader, without standard input. Returns 0 or a negative errno;
 * the process handle may be open even after an error.
 */
static int exec_run_spawn(struct kube_exec_run *run, const struct kube_config *config,
			  const char *ca_pem, int output_fd, int errors_fd)
{
	auto_cleanup(cleanup_environment) char **environment = environment_make(config, ca_pem);
	auto_cleanup(cleanup_free) char **arguments = arguments_make(config->exec);
	uv_stdio_container_t stdio[] = {
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = output_fd},
		{.flags = UV_INHERIT_FD, .data.fd = errors_fd},
	};
	const uv_process_options_t options = {
		.exit_cb = exec_run_on_exit,
		.file = config->exec->command,
		.args = arguments,
		.env = environment,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = sizeof(stdio) / sizeof(stdio[0]),
	};
	int err;

	if (!environment || !arguments)
		return -ENOMEM;
	err = uv_spawn(run->timer.loop, &run->process, &options);
	run->handle_count += run->process.loop != NULL;
	run->has_process = !err;
	return err;
}

/*
 * The outputs are read only once the program runs: a pipe that has no writer yet reports end of
 * file, which must not be taken for the program's end. Whether libuv serves timers or pipes first
 * depends on its version.
 */
static int exec_run_begin(struct kube_exec_run *run, const struct kube_config *config,
			  const char *ca_pem)
{
	auto_cleanup(cleanup_fd) int output = -1;
	auto_cleanup(cleanup_fd) int errors = -1;
	int err = exec_output_open(&run->output, &output);

	if (err)
		return err;
	err = exec_output_open(&run->errors, &errors);
	if (err)
		return err;
	err = exec_run_spawn(run, config, ca_pem, output, errors);
	if (err)
		return err;
	err = uv_read_start((uv_stream_t *)&run->output.pipe, exec_run_on_alloc, exec_run_on_read);
	if (err)
		return err;
	return uv_read_start((uv_stream_t *)&run->errors.pipe, exec_run_on_alloc, exec_run_on_read);
}

static struct kube_exec_run *exec_run_new(uv_loop_t *loop, const struct kube_exec *exec)
{
	struct kube_exec_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->api_version = strdup(exec->api_version);
	run->install_hint = strdup(exec->install_hint ? exec->install_hint : "");
	if (!run->api_version || !run->install_hint) {
		exec_run_free(run);
		return NULL;
	}
	run->output.size_max = OUTPUT_SIZE_MAX;
	run->errors.size_max = ERRORS_SIZE_MAX;
	(void)uv_timer_init(loop, &run->timer);
	(void)uv_pipe_init(loop, &run->output.pipe, 0);
	(void)uv_pipe_init(loop, &run->errors.pipe, 0);
	run->handle_count = 3;
	run->timer.data = run->output.pipe.data = run->errors.pipe.data = run->process.data = run;
	return run;
}

int kube_exec_start(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		    uint64_t timeout_ms, kube_exec_done *done, void *context,
		    struct kube_exec_run **ret_run)
{
	struct kube_exec_run *run = exec_run_new(loop, config->exec);

	if (!run)
		return -ENOMEM;
	run->timeout_ms = timeout_ms;
	run->done = done;
	run->context = context;
	/* A failure to start is reported from the loop, like any other end. */
	run->start_err = exec_run_begin(run, config, ca_pem);
	(void)uv_timer_start(&run->timer, exec_run_on_timer, run->start_err ? 0 : timeout_ms, 0);
	*ret_run = run;
	return 0;
}

void kube_exec_cancel(struct kube_exec_run *run)
{
	if (run)
		exec_run_close(run);
}
