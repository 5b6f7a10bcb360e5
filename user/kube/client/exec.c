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
#include "kube/client/exec_process.h"
#include "kube/client/exec_credential.h"

#define OUTPUT_SIZE_MAX (1U << 20)
#define ERRORS_SIZE_MAX 1024U /* only the beginning of standard error is kept */
#define CHUNK_SIZE      16384U
#define WHY_SIZE        640
#define FIRST_LINE_MAX  256
#define MS_PER_S        1000U

struct output {
	uv_pipe_t pipe;
	char *text;
	size_t size, size_max;
	bool is_closed;
};

struct kube_exec_run {
	uv_process_t process;
	uv_timer_t timer;
	struct output output, errors;
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

static void run_free(struct kube_exec_run *run)
{
	free(run->output.text);
	free(run->errors.text);
	free(run->api_version);
	free(run->install_hint);
	free(run);
}

static void on_closed(uv_handle_t *handle)
{
	struct kube_exec_run *run = handle->data;

	if (!--run->handle_count)
		run_free(run);
}

static void handle_close(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

/* Closes all handles, except that of a running process, which is killed. */
static void run_close(struct kube_exec_run *run)
{
	run->is_over = true;
	run->done = NULL;
	handle_close(&run->timer);
	handle_close(&run->output.pipe);
	handle_close(&run->errors.pipe);
	if (run->has_process)
		(void)kill(-run->process.pid, SIGKILL);
	else if (run->process.loop)
		handle_close(&run->process);
}

/*
 * Calls `done` last: the receiver may do anything, even free the object that the run was started
 * for.
 */
static void run_end(struct kube_exec_run *run, struct kube_exec_result *result, const char *why)
{
	kube_exec_done *done = run->done;
	void *context = run->context;

	run_close(run);
	done(result, why, context);
}

static void run_fail(struct kube_exec_run *run, const char *why)
{
	run_end(run, NULL, why);
}

/* The first non-empty line of standard error, or "". */
static void errors_first_line(const struct kube_exec_run *run, char line[FIRST_LINE_MAX])
{
	const char *text = run->errors.size ? run->errors.text : "";
	size_t len;

	text += strspn(text, "\r\n\t ");
	len = strcspn(text, "\r\n");
	(void)snprintf(line, FIRST_LINE_MAX, "%.*s", (int)len, text);
	for (char *at = line; *at; at++) {
		if ((unsigned char)*at < ' ')
			*at = ' ';
	}
}

/* The program has exited with an error or was killed by a signal. */
static void run_fail_exit(struct kube_exec_run *run)
{
	char line[FIRST_LINE_MAX], why[WHY_SIZE];
	const char *kind = run->exit_signal ? "was killed by signal" : "ended with status";

	errors_first_line(run, line);
	(void)snprintf(why, sizeof(why), "%s %d%s%s", kind,
		       run->exit_signal ? run->exit_signal : (int)run->exit_status,
		       *line ? ", saying: " : "", line);
	run_fail(run, why);
}

static void run_read_result(struct kube_exec_run *run)
{
	struct kube_exec_result *result = NULL;
	const char *why = "";
	int err = exec_result_read(run->output.size ? run->output.text : "", run->output.size,
				   run->api_version, &result, &why);

	if (err)
		run_fail(run, err == -EINVAL ? why : "has printed more than there is memory for");
	else
		run_end(run, result, NULL);
}

/* Ends the run once the process has exited and both outputs are closed. */
static void run_settle(struct kube_exec_run *run)
{
	if (run->is_over || run->has_process || !run->output.is_closed || !run->errors.is_closed)
		return;
	if (run->exit_status || run->exit_signal)
		run_fail_exit(run);
	else
		run_read_result(run);
}

static void on_exit_of(uv_process_t *process, int64_t exit_status, int exit_signal)
{
	struct kube_exec_run *run = process->data;

	run->has_process = false;
	run->exit_status = exit_status;
	run->exit_signal = exit_signal;
	if (run->is_over)
		handle_close(process);
	else
		run_settle(run);
}

/* One buffer serves both pipes: on_read() copies each chunk before the next one is read. */
static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct kube_exec_run *run = handle->data;

	(void)suggested;
	*ret_buf = uv_buf_init(run->chunk, sizeof(run->chunk));
}

/* Appends as much as fits, NUL-terminated. Returns 0, -EFBIG or -ENOMEM. */
static int output_append(struct output *output, const char *bytes, size_t size)
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

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
	struct kube_exec_run *run = stream->data;
	struct output *output =
		stream == (uv_stream_t *)&run->output.pipe ? &run->output : &run->errors;
	int err;

	if (len < 0) {
		(void)uv_read_stop(stream);
		output->is_closed = true;
		run_settle(run);
		return;
	}
	err = output_append(output, buf->base, (size_t)len);
	if (err == -EFBIG && output == &run->output)
		run_fail(run, "prints more than 1 MiB");
	else if (err == -ENOMEM)
		run_fail(run, "has printed more than there is memory for");
}

static void run_fail_start(struct kube_exec_run *run)
{
	const char *hint = run->install_hint ? run->install_hint : "";
	char why[WHY_SIZE];

	if (run->start_err == -ENOENT)
		(void)snprintf(why, sizeof(why), "cannot be found%s%s", *hint ? ": " : "", hint);
	else
		(void)snprintf(why, sizeof(why), "cannot be run: %s", strerror(-run->start_err));
	for (char *at = why; *at; at++) {
		if ((unsigned char)*at < ' ')
			*at = ' ';
	}
	run_fail(run, why);
}

static void on_timer(uv_timer_t *timer)
{
	struct kube_exec_run *run = timer->data;
	char why[WHY_SIZE];

	if (run->start_err) {
		run_fail_start(run);
		return;
	}
	(void)snprintf(why, sizeof(why), "has not ended within %g s and was killed",
		       (double)run->timeout_ms / MS_PER_S);
	run_fail(run, why);
}

/* Opens a pipe: the loop owns the reading end, `ret_fd` is the program's writing end. */
static int output_open(struct output *output, int *ret_fd)
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

static int output_read(struct output *output)
{
	return uv_read_start((uv_stream_t *)&output->pipe, on_room, on_read);
}

/*
 * A failure to start is reported from the loop, like any other end. The outputs are read only once
 * the program runs: a pipe that has no writer yet reports end of file, which must not be taken for
 * the program's end. Whether libuv serves timers or pipes first depends on its version.
 */
static void run_begin(struct kube_exec_run *run, const struct kube_config *config,
		      const char *ca_pem)
{
	auto_cleanup(cleanup_fd) int output = -1;
	auto_cleanup(cleanup_fd) int errors = -1;
	int err = output_open(&run->output, &output);

	if (!err)
		err = output_open(&run->errors, &errors);
	if (!err) {
		err = exec_process_spawn(run->timer.loop, config, ca_pem, output, errors,
					 on_exit_of, &run->process);
		run->handle_count += run->process.loop != NULL;
		run->has_process = !err;
	}
	if (!err)
		err = output_read(&run->output);
	if (!err)
		err = output_read(&run->errors);
	run->start_err = err;
	(void)uv_timer_start(&run->timer, on_timer, err ? 0 : run->timeout_ms, 0);
}

static struct kube_exec_run *run_new(uv_loop_t *loop, const struct kube_exec *exec)
{
	struct kube_exec_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->api_version = strdup(exec->api_version);
	run->install_hint = strdup(exec->install_hint ? exec->install_hint : "");
	if (!run->api_version || !run->install_hint) {
		run_free(run);
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
	struct kube_exec_run *run = run_new(loop, config->exec);

	if (!run)
		return -ENOMEM;
	run->timeout_ms = timeout_ms;
	run->done = done;
	run->context = context;
	run_begin(run, config, ca_pem);
	*ret_run = run;
	return 0;
}

void kube_exec_cancel(struct kube_exec_run *run)
{
	if (run)
		run_close(run);
}
