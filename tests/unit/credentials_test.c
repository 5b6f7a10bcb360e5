/* SPDX-License-Identifier: BSD-2-Clause */

/* Tokens and certificates that rotate, and plugins of all kinds: real files, real programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kube/client/credentials.h"
#include "kube/client/exec.h"

#define PEM(what)            "-----BEGIN " what "-----\nAAAA\n-----END " what "-----\n"
#define PEM_JSON(what, text) "-----BEGIN " what "-----\\n" text "\\n-----END " what "-----\\n"
#define API                  "client.authentication.k8s.io/v1"
#define PATIENCE_MS          20000
#define NS_PER_S             1000000000ULL
#define NS_PER_MS            1000000ULL

struct fixture {
	uv_loop_t loop;
	char dir[64];
	char program[96], runs[96], log_path[96];
	char token_file[96], ca_file[96], cert_file[96], key_file[96];
	char log[8192];
	int saved_stderr;
	struct kube_exec exec;
	struct kube_config config;
	struct kube_credentials *credentials;
	struct kube_secrets secrets;
	unsigned int ready;

	/* Of a plugin that is run alone. */
	struct kube_exec_run *run;
	struct kube_exec_result *result;
	char why[1024];
	bool is_done;
};

/* The clock of what is tested: tests go forward in time by it. */
static uint64_t clock_ahead_ns;

uint64_t uv_hrtime(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + clock_ahead_ns;
}

static void when_seconds_pass(unsigned int seconds)
{
	clock_ahead_ns += seconds * NS_PER_S;
}

/* Standard error is a file during each test, for what is logged is looked at. */
static int log_begin(struct fixture *fixture)
{
	int fd = open(fixture->log_path, O_CREAT | O_TRUNC | O_RDWR | O_APPEND | O_CLOEXEC, 0600);

	fixture->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || fixture->saved_stderr < 0 || dup2(fd, STDERR_FILENO) < 0)
		return -1;
	return close(fd);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture || uv_loop_init(&fixture->loop))
		return -1;
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/fl-credentials-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(fixture->dir))
		return -1;
	(void)snprintf(fixture->program, sizeof(fixture->program), "%s/plugin", fixture->dir);
	(void)snprintf(fixture->runs, sizeof(fixture->runs), "%s/runs", fixture->dir);
	(void)snprintf(fixture->log_path, sizeof(fixture->log_path), "%s/log", fixture->dir);
	(void)snprintf(fixture->token_file, sizeof(fixture->token_file), "%s/token", fixture->dir);
	(void)snprintf(fixture->ca_file, sizeof(fixture->ca_file), "%s/ca.crt", fixture->dir);
	(void)snprintf(fixture->cert_file, sizeof(fixture->cert_file), "%s/cert", fixture->dir);
	(void)snprintf(fixture->key_file, sizeof(fixture->key_file), "%s/key", fixture->dir);
	fixture->config.origin = "the test's kubeconfig";
	fixture->exec = (struct kube_exec){.command = fixture->program, .api_version = API};
	clock_ahead_ns = 0;
	*state = fixture;
	return log_begin(fixture);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	kube_credentials_close(fixture->credentials);
	kube_exec_cancel(fixture->run);
	kube_exec_result_free(fixture->result);
	(void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
	(void)dup2(fixture->saved_stderr, STDERR_FILENO);
	(void)close(fixture->saved_stderr);
	if (uv_loop_close(&fixture->loop))
		return -1;
	(void)nftw(fixture->dir, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

static void given_file(const char *path, const char *text)
{
	char other[128];
	FILE *file;

	(void)snprintf(other, sizeof(other), "%s.new", path);
	file = fopen(other, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(other, path), 0);
}

/* A plugin: `body` is what it does; each run leaves a line in a file. */
static void given_plugin(struct fixture *fixture, const char *body)
{
	char script[4096];

	(void)snprintf(script, sizeof(script), "#!/bin/sh\necho run >>'%s'\n%s\n", fixture->runs,
		       body);
	given_file(fixture->program, script);
	assert_int_equal(chmod(fixture->program, 0700), 0);
	fixture->config.exec = &fixture->exec;
}

/* What it prints: an ExecCredential with this status. */
static void given_plugin_says(struct fixture *fixture, const char *status)
{
	char body[2048];

	(void)snprintf(body, sizeof(body),
		       "printf %%s '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
		       "\",\"status\":{%s}}'",
		       status);
	given_plugin(fixture, body);
}

static void given_plugin_says_token(struct fixture *fixture, const char *token, int expires_in_s)
{
	time_t at = time(NULL) + expires_in_s;
	char status[256], text[64];
	struct tm tm;

	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
	(void)snprintf(status, sizeof(status), "\"token\":\"%s\",\"expirationTimestamp\":\"%s\"",
		       token, text);
	given_plugin_says(fixture, status);
}

static void on_ready(void *context)
{
	((struct fixture *)context)->ready++;
}

static void when_opened(struct fixture *fixture)
{
	assert_int_equal(kube_credentials_open(&fixture->loop, &fixture->config, on_ready, fixture,
					       &fixture->credentials),
			 0);
}

static int when_asked(struct fixture *fixture)
{
	return kube_credentials_get(fixture->credentials, &fixture->secrets);
}

static void on_deadline(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Turns the loop until `condition`, which must come about. */
static void wait_until(struct fixture *fixture, bool (*condition)(const struct fixture *fixture))
{
	uv_timer_t deadline;
	bool is_late = false;

	(void)uv_timer_init(&fixture->loop, &deadline);
	deadline.data = &is_late;
	uv_update_time(&fixture->loop);
	(void)uv_timer_start(&deadline, on_deadline, PATIENCE_MS, 0);
	while (!is_late && !condition(fixture))
		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&deadline, NULL);
	(void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
	assert_false(is_late);
}

static bool is_ready(const struct fixture *fixture)
{
	return fixture->ready;
}

static bool is_idle(const struct fixture *fixture)
{
	/* The deadline's timer is the only handle then. */
	return fixture->loop.active_handles <= 1;
}

/* Asks, and waits for the plugin if there is need to. */
static int when_asked_and_waited(struct fixture *fixture)
{
	int err = when_asked(fixture);

	if (err != -EAGAIN)
		return err;
	fixture->ready = 0;
	wait_until(fixture, is_ready);
	return when_asked(fixture);
}

static unsigned int run_count(const struct fixture *fixture)
{
	struct stat st;

	return stat(fixture->runs, &st) ? 0 : (unsigned int)((size_t)st.st_size / strlen("run\n"));
}

static unsigned int logged(struct fixture *fixture, const char *text)
{
	FILE *file = fopen(fixture->log_path, "r");
	unsigned int count = 0;
	size_t size;

	assert_non_null(file);
	size = fread(fixture->log, 1, sizeof(fixture->log) - 1, file);
	fixture->log[size] = '\0';
	(void)fclose(file);
	for (const char *at = fixture->log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void then_logged(struct fixture *fixture, unsigned int count, const char *text)
{
	if (logged(fixture, text) != count)
		fail_msg("\"%s\" is not there %u times: %s", text, count, fixture->log);
}

static void what_the_configuration_says_itself_is_given(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.token = "own";
	fixture->config.ca_pem = PEM("CERTIFICATE");
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "own");
	assert_string_equal(fixture->secrets.ca_pem, PEM("CERTIFICATE"));
	assert_null(fixture->secrets.user);
	assert_null(fixture->secrets.client_cert_pem);
}

static void a_rotated_token_is_seen_after_a_second(void **state)
{
	struct fixture *fixture = *state;
	uint64_t revision;

	fixture->config.token_file = fixture->token_file;
	given_file(fixture->token_file, "  first\n");
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "first");
	revision = fixture->secrets.tls_revision;

	given_file(fixture->token_file, "second");
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "first");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "second");
	assert_int_equal(fixture->secrets.tls_revision, revision);
	then_logged(fixture, 0, "token");
}

static void a_refused_token_is_read_again_at_once(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.token_file = fixture->token_file;
	given_file(fixture->token_file, "first");
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);
	given_file(fixture->token_file, "second");
	kube_credentials_refuse(fixture->credentials);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "second");
}

static void what_was_read_stays_while_a_file_is_gone_or_bad(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.token_file = fixture->token_file;
	given_file(fixture->token_file, "first");
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);

	assert_int_equal(unlink(fixture->token_file), 0);
	for (int i = 0; i < 3; i++) {
		when_seconds_pass(1);
		assert_int_equal(when_asked(fixture), 0);
		assert_string_equal(fixture->secrets.bearer, "first");
	}
	then_logged(fixture, 1, "No such file or directory, continuing with what was read before");

	given_file(fixture->token_file, " \n");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "first");
	then_logged(fixture, 1, "cannot use");

	given_file(fixture->token_file, "second");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "second");
	then_logged(fixture, 1, "can be used again");

	given_file(fixture->token_file, "two\nlines");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "second");
	then_logged(fixture, 1, "it is not a token, continuing");
}

static void a_file_that_never_was_there_is_an_error_until_it_comes(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.token_file = fixture->token_file;
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), -ENOENT);
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), -ENOENT);
	then_logged(fixture, 1, "/token: No such file or directory\n");
	given_file(fixture->token_file, "abc");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "abc");
}

static void a_token_file_wins_where_it_can_be_read(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.token_file = fixture->token_file;
	fixture->config.token = "own";
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "own");
	given_file(fixture->token_file, "file");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "file");
}

static void another_certificate_is_another_tls_revision(void **state)
{
	struct fixture *fixture = *state;
	uint64_t revision;

	fixture->config.ca_file = fixture->ca_file;
	fixture->config.client_cert_file = fixture->cert_file;
	fixture->config.client_key_file = fixture->key_file;
	given_file(fixture->ca_file, PEM("CERTIFICATE"));
	given_file(fixture->cert_file, PEM("CERTIFICATE"));
	given_file(fixture->key_file, PEM("PRIVATE KEY"));
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), 0);
	revision = fixture->secrets.tls_revision;

	/* The same text in another file is no change. */
	given_file(fixture->ca_file, PEM("CERTIFICATE"));
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_int_equal(fixture->secrets.tls_revision, revision);

	given_file(fixture->key_file, PEM("EC PRIVATE KEY"));
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_int_not_equal(fixture->secrets.tls_revision, revision);
	assert_non_null(strstr(fixture->secrets.client_key_pem, "EC PRIVATE KEY"));
	revision = fixture->secrets.tls_revision;

	/* Half of a file, as while it is written, is none. */
	given_file(fixture->ca_file, PEM("CERTIFICATE") "-----BEGIN CERTIFICATE-----\nAA");
	when_seconds_pass(1);
	assert_int_equal(when_asked(fixture), 0);
	assert_int_equal(fixture->secrets.tls_revision, revision);
	then_logged(fixture, 1, "its end is missing, continuing");
}

static void a_plugin_is_run_on_first_use_and_its_words_are_kept(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says(fixture, "\"token\":\"abc\"");
	when_opened(fixture);
	assert_int_equal(run_count(fixture), 0);
	assert_int_equal(when_asked(fixture), -EAGAIN);
	assert_int_equal(when_asked(fixture), -EAGAIN);
	wait_until(fixture, is_ready);
	for (int i = 0; i < 3; i++) {
		when_seconds_pass(3600);
		assert_int_equal(when_asked(fixture), 0);
		assert_string_equal(fixture->secrets.bearer, "abc");
	}
	assert_int_equal(fixture->ready, 1);
	assert_int_equal(run_count(fixture), 1);
}

static void a_plugin_may_give_a_certificate(void **state)
{
	struct fixture *fixture = *state;
	uint64_t revision;

	given_plugin_says(fixture, "\"clientCertificateData\":\"" PEM_JSON(
					   "CERTIFICATE", "A") "\","
							       "\"clientKeyData\":\"" PEM_JSON(
								       "PRIVATE KEY", "B") "\"");
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	assert_null(fixture->secrets.bearer);
	assert_non_null(strstr(fixture->secrets.client_cert_pem, "\nA\n"));
	assert_non_null(strstr(fixture->secrets.client_key_pem, "\nB\n"));
	revision = fixture->secrets.tls_revision;

	given_plugin_says(fixture, "\"clientCertificateData\":\"" PEM_JSON(
					   "CERTIFICATE", "C") "\","
							       "\"clientKeyData\":\"" PEM_JSON(
								       "PRIVATE KEY", "B") "\"");
	kube_credentials_refuse(fixture->credentials);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	assert_non_null(strstr(fixture->secrets.client_cert_pem, "\nC\n"));
	assert_int_not_equal(fixture->secrets.tls_revision, revision);
}

static void before_expiry_the_old_is_used_while_the_plugin_runs(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says_token(fixture, "old", 30);
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "old");

	given_plugin_says_token(fixture, "new", 3600);
	when_seconds_pass(10);
	fixture->ready = 0;
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "old");
	wait_until(fixture, is_idle);
	assert_string_equal(fixture->secrets.bearer, "old");
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "new");
	assert_int_equal(fixture->ready, 0);
	assert_int_equal(run_count(fixture), 2);
	when_seconds_pass(20);
	assert_int_equal(when_asked(fixture), 0);
	assert_int_equal(run_count(fixture), 2);
}

static void what_has_expired_is_not_used(void **state)
{
	struct fixture *fixture = *state;
	const struct timespec tick = {.tv_nsec = 20 * (long)NS_PER_MS};
	int err = 0;

	given_plugin_says_token(fixture, "old", 3);
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	given_plugin_says_token(fixture, "new", 3600);
	for (int i = 0; i < 500 && !err; i++) {
		assert_string_equal(fixture->secrets.bearer, "old");
		(void)nanosleep(&tick, NULL);
		err = when_asked(fixture);
	}
	assert_int_equal(err, -EAGAIN);
	fixture->ready = 0;
	wait_until(fixture, is_ready);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "new");
}

static void a_plugin_that_gives_what_has_expired_is_not_run_all_the_time(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says_token(fixture, "late", -5);
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "late");
	assert_int_equal(run_count(fixture), 1);
	when_seconds_pass(10);
	assert_int_equal(when_asked(fixture), -EAGAIN);
}

static void a_refusal_runs_the_plugin_again_but_not_all_the_time(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says(fixture, "\"token\":\"first\"");
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);

	given_plugin_says(fixture, "\"token\":\"second\"");
	kube_credentials_refuse(fixture->credentials);
	assert_int_equal(when_asked(fixture), -EAGAIN);
	fixture->ready = 0;
	wait_until(fixture, is_ready);
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "second");

	for (int i = 0; i < 3; i++) {
		kube_credentials_refuse(fixture->credentials);
		assert_int_equal(when_asked(fixture), 0);
	}
	assert_int_equal(run_count(fixture), 2);
	when_seconds_pass(10);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	assert_int_equal(run_count(fixture), 3);
}

static void a_plugin_that_fails_is_told_once_and_tried_every_ten_seconds(void **state)
{
	struct fixture *fixture = *state;

	given_plugin(fixture, "echo >&2; echo 'no ticket' >&2; echo 'run login' >&2; exit 3");
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), -EIO);
	assert_int_equal(when_asked(fixture), -EIO);
	assert_int_equal(run_count(fixture), 1);
	when_seconds_pass(10);
	assert_int_equal(when_asked_and_waited(fixture), -EIO);
	assert_int_equal(run_count(fixture), 2);
	then_logged(fixture, 1,
		    "/plugin of the test's kubeconfig ended with status 3, saying: no ticket\n");

	given_plugin_says(fixture, "\"token\":\"abc\"");
	when_seconds_pass(10);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "abc");
	then_logged(fixture, 1, "works again");
}

static void the_old_is_used_while_the_plugin_fails(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says_token(fixture, "old", 30);
	when_opened(fixture);
	assert_int_equal(when_asked_and_waited(fixture), 0);
	given_plugin(fixture, "exit 1");
	when_seconds_pass(10);
	assert_int_equal(when_asked(fixture), 0);
	wait_until(fixture, is_idle);
	assert_int_equal(run_count(fixture), 2);
	then_logged(fixture, 1, "ended with status 1, continuing with what it said before");
	assert_int_equal(when_asked(fixture), 0);
	assert_string_equal(fixture->secrets.bearer, "old");
	assert_int_equal(run_count(fixture), 2);
}

static void credentials_can_be_closed_while_a_plugin_runs(void **state)
{
	struct fixture *fixture = *state;

	given_plugin(fixture, "sleep 600");
	when_opened(fixture);
	assert_int_equal(when_asked(fixture), -EAGAIN);
	kube_credentials_close(fixture->credentials);
	fixture->credentials = NULL;
	wait_until(fixture, is_idle);
	assert_int_equal(fixture->ready, 0);
}

static void on_ready_close(void *context)
{
	struct fixture *fixture = context;

	fixture->ready++;
	kube_credentials_close(fixture->credentials);
	fixture->credentials = NULL;
}

static void credentials_can_be_closed_when_they_are_ready(void **state)
{
	struct fixture *fixture = *state;

	given_plugin_says(fixture, "\"token\":\"abc\"");
	assert_int_equal(kube_credentials_open(&fixture->loop, &fixture->config, on_ready_close,
					       fixture, &fixture->credentials),
			 0);
	assert_int_equal(when_asked(fixture), -EAGAIN);
	wait_until(fixture, is_ready);
	assert_null(fixture->credentials);
}

static void on_done(struct kube_exec_result *result, const char *why, void *context)
{
	struct fixture *fixture = context;

	assert_false(fixture->is_done);
	fixture->is_done = true;
	fixture->run = NULL;
	fixture->result = result;
	(void)snprintf(fixture->why, sizeof(fixture->why), "%s", why ? why : "");
}

static bool is_done(const struct fixture *fixture)
{
	return fixture->is_done;
}

static void when_plugin_run(struct fixture *fixture, uint64_t timeout_ms)
{
	kube_exec_result_free(fixture->result);
	fixture->result = NULL;
	fixture->is_done = false;
	assert_int_equal(kube_exec_start(&fixture->loop, &fixture->config, PEM("CERTIFICATE"),
					 timeout_ms, on_done, fixture, &fixture->run),
			 0);
	assert_false(fixture->is_done);
	wait_until(fixture, is_done);
}

static void then_plugin_failed(struct fixture *fixture, const char *why)
{
	when_plugin_run(fixture, PATIENCE_MS);
	assert_null(fixture->result);
	assert_string_equal(fixture->why, why);
}

/* Of a file that a plugin wrote; what it has no room for is cut off. */
static void file_text(const struct fixture *fixture, const char *name, char *text, size_t size)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", fixture->dir, name);
	file = fopen(path, "r");
	assert_non_null(file);
	size = fread(text, 1, size - 1, file);
	text[size] = '\0';
	(void)fclose(file);
}

static void a_plugin_is_told_what_it_is_asked_for(void **state)
{
	struct fixture *fixture = *state;
	char *args[] = {"get", "to ken", NULL};
	struct kube_variable variables[] = {{"FL_EXTRA", "x y"}, {"FL_BOTH", "theirs"}};
	char text[2048];

	(void)setenv("FL_BOTH", "ours", 1);
	(void)setenv("FL_OURS", "kept", 1);
	given_plugin(fixture,
		     "cd \"${0%/*}\"\n"
		     "printf '%s|' \"$#\" \"$1\" \"$2\" \"$FL_EXTRA\" \"$FL_BOTH\" \"$FL_OURS\" "
		     ">said\n"
		     "printf %s \"$KUBERNETES_EXEC_INFO\" >info\n"
		     "cat >input\n"
		     "echo quiet >/dev/stderr\n"
		     "printf %s '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
		     "\",\"status\":{\"token\":\"t\"}}' >/dev/stdout");
	fixture->exec.args = args;
	fixture->exec.environment = variables;
	fixture->exec.environment_count = 2;
	when_plugin_run(fixture, PATIENCE_MS);
	assert_string_equal(fixture->why, "");
	assert_string_equal(fixture->result->token, "t");
	assert_false(fixture->result->expires);
	file_text(fixture, "said", text, sizeof(text));
	assert_string_equal(text, "2|get|to ken|x y|theirs|kept|");
	file_text(fixture, "input", text, sizeof(text));
	assert_string_equal(text, "");
	file_text(fixture, "info", text, sizeof(text));
	assert_string_equal(text, "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
				  "\",\"spec\":{\"interactive\":false}}");
	(void)unsetenv("FL_BOTH");
	(void)unsetenv("FL_OURS");
}

static void a_plugin_that_asks_for_the_cluster_is_told_of_it(void **state)
{
	struct fixture *fixture = *state;
	char *servers[] = {"https://192.0.2.1:6443", "https://192.0.2.2:6443"};
	char text[2048];

	given_plugin(fixture, "printf %s \"$KUBERNETES_EXEC_INFO\" >\"${0%/*}/info\"");
	fixture->exec.provide_cluster_info = true;
	fixture->exec.cluster_config = "{\"audience\":\"x\"}";
	fixture->config.servers = servers;
	fixture->config.server_count = 2;
	fixture->config.tls_server_name = "api";
	fixture->config.proxy_url = "http://192.0.2.3";
	fixture->config.insecure = true;
	when_plugin_run(fixture, PATIENCE_MS);
	file_text(fixture, "info", text, sizeof(text));
	assert_string_equal(
		text, "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
		      "\",\"spec\":{\"interactive\":false,\"cluster\":{"
		      "\"config\":{\"audience\":\"x\"},\"server\":\"https://192.0.2.1:6443\","
		      "\"tls-server-name\":\"api\",\"certificate-authority-data\":\""
		      "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEU"
		      "tLS0tLQo=\",\"proxy-url\":\"http://192.0.2.3\","
		      "\"insecure-skip-tls-verify\":true}}}");
}

static void a_program_that_is_not_there_is_told_with_its_hint(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.exec = &fixture->exec;
	fixture->exec.command = "fl-no-such-program";
	then_plugin_failed(fixture, "cannot be found");
	fixture->exec.install_hint = "get it\nfrom https://example.com";
	then_plugin_failed(fixture, "cannot be found: get it from https://example.com");
	fixture->exec.command = fixture->dir;
	then_plugin_failed(fixture, "cannot be run: Permission denied");
}

static void a_program_is_found_in_path(void **state)
{
	struct fixture *fixture = *state;
	struct kube_variable path = {"PATH", fixture->dir};

	given_plugin_says(fixture, "\"token\":\"abc\"");
	fixture->exec.command = "plugin";
	fixture->exec.environment = &path;
	fixture->exec.environment_count = 1;
	when_plugin_run(fixture, PATIENCE_MS);
	assert_string_equal(fixture->why, "");
	assert_string_equal(fixture->result->token, "abc");
}

static void what_a_plugin_prints_must_be_credentials(void **state)
{
	static const struct {
		const char *status, *why;
	} cases[] = {
		{"", "has printed neither a token nor a client certificate with its key"},
		{"\"token\":7",
		 "has printed neither a token nor a client certificate with its key"},
		{"\"token\":\"a b\"",
		 "has printed a token with spaces or other characters that no token has"},
		{"\"clientKeyData\":\"x\"",
		 "has printed a client certificate without its key, or a "
		 "key without its certificate"},
		{"\"clientKeyData\":\"x\",\"clientCertificateData\":\"y\"",
		 "has printed a client certificate or key that is not PEM"},
		{"\"token\":\"a\",\"expirationTimestamp\":\"tomorrow\"",
		 "has printed an expirationTimestamp that is no time of RFC 3339"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		given_plugin_says(fixture, cases[i].status);
		then_plugin_failed(fixture, cases[i].why);
	}
	given_plugin(fixture, "true");
	then_plugin_failed(fixture, "has printed something else than an ExecCredential as JSON");
	given_plugin(fixture, "head -c 5000 /dev/urandom");
	then_plugin_failed(fixture, "has printed something else than an ExecCredential as JSON");
	given_plugin(fixture,
		     "printf %s '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "beta1\","
		     "\"status\":{\"token\":\"a\"}}'");
	then_plugin_failed(fixture, "has printed an ExecCredential of another apiVersion than the "
				    "kubeconfig asks for");
	given_plugin(fixture,
		     "printf %s '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\"}'");
	then_plugin_failed(fixture, "has printed an ExecCredential without a status");
}

static void times_are_read_with_fractions_and_offsets(void **state)
{
	static const char *const texts[] = {
		"2030-01-31T12:00:00Z",
		"2030-01-31T12:00:00.123456Z",
		"2030-01-31T14:00:00+02:00",
		"2030-01-31T06:30:00.5-05:30",
	};
	struct fixture *fixture = *state;
	char status[128];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		(void)snprintf(status, sizeof(status),
			       "\"token\":\"a\",\"expirationTimestamp\":\"%s\"", texts[i]);
		given_plugin_says(fixture, status);
		when_plugin_run(fixture, PATIENCE_MS);
		assert_string_equal(fixture->why, "");
		assert_true(fixture->result->expires);
		assert_int_equal(fixture->result->expires_at, 1896091200);
	}
}

static void a_plugin_that_prints_without_end_is_stopped(void **state)
{
	struct fixture *fixture = *state;

	given_plugin(fixture, "cat /dev/zero");
	then_plugin_failed(fixture, "prints more than 1 MiB");
	wait_until(fixture, is_idle);
}

static void a_plugin_may_complain_at_length(void **state)
{
	struct fixture *fixture = *state;

	given_plugin(fixture, "head -c 300000 /dev/zero | tr '\\0' x >&2; exit 4");
	when_plugin_run(fixture, PATIENCE_MS);
	assert_null(fixture->result);
	assert_int_equal(strncmp(fixture->why, "ended with status 4, saying: xxx", 32), 0);
	given_plugin(fixture, "kill -TERM $$");
	then_plugin_failed(fixture, "was killed by signal 15");
}

static void a_plugin_that_hangs_is_killed_with_what_it_has_started(void **state)
{
	struct fixture *fixture = *state;
	char text[32];
	pid_t child;

	given_plugin(fixture, "sleep 600 & echo $! >\"${0%/*}/child\"; wait");
	when_plugin_run(fixture, 1500);
	assert_null(fixture->result);
	assert_string_equal(fixture->why, "has not ended within 1.5 s and was killed");
	wait_until(fixture, is_idle);
	file_text(fixture, "child", text, sizeof(text));
	child = (pid_t)strtol(text, NULL, 10);
	assert_true(child > 1);
	/* Killed with the group; where nobody has collected it yet it is a zombie. */
	for (int i = 0; i < 500 && !kill(child, 0); i++) {
		const struct timespec tick = {.tv_nsec = 10 * (long)NS_PER_MS};
		char path[64], line[256] = "";
		FILE *file;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
		file = fopen(path, "r");
		if (!file)
			return;
		(void)fgets(line, sizeof(line), file);
		(void)fclose(file);
		if (strstr(line, ") Z "))
			return;
		(void)nanosleep(&tick, NULL);
	}
	assert_int_equal(kill(child, 0), -1);
}

static void a_run_can_be_cancelled(void **state)
{
	struct fixture *fixture = *state;

	given_plugin(fixture, "sleep 600");
	assert_int_equal(kube_exec_start(&fixture->loop, &fixture->config, NULL, PATIENCE_MS,
					 on_done, fixture, &fixture->run),
			 0);
	kube_exec_cancel(fixture->run);
	fixture->run = NULL;
	wait_until(fixture, is_idle);
	assert_false(fixture->is_done);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_configuration_says_itself_is_given),
		TEST(a_rotated_token_is_seen_after_a_second),
		TEST(a_refused_token_is_read_again_at_once),
		TEST(what_was_read_stays_while_a_file_is_gone_or_bad),
		TEST(a_file_that_never_was_there_is_an_error_until_it_comes),
		TEST(a_token_file_wins_where_it_can_be_read),
		TEST(another_certificate_is_another_tls_revision),
		TEST(a_plugin_is_run_on_first_use_and_its_words_are_kept),
		TEST(a_plugin_may_give_a_certificate),
		TEST(before_expiry_the_old_is_used_while_the_plugin_runs),
		TEST(what_has_expired_is_not_used),
		TEST(a_plugin_that_gives_what_has_expired_is_not_run_all_the_time),
		TEST(a_refusal_runs_the_plugin_again_but_not_all_the_time),
		TEST(a_plugin_that_fails_is_told_once_and_tried_every_ten_seconds),
		TEST(the_old_is_used_while_the_plugin_fails),
		TEST(credentials_can_be_closed_while_a_plugin_runs),
		TEST(credentials_can_be_closed_when_they_are_ready),
		TEST(a_plugin_is_told_what_it_is_asked_for),
		TEST(a_plugin_that_asks_for_the_cluster_is_told_of_it),
		TEST(a_program_that_is_not_there_is_told_with_its_hint),
		TEST(a_program_is_found_in_path),
		TEST(what_a_plugin_prints_must_be_credentials),
		TEST(times_are_read_with_fractions_and_offsets),
		TEST(a_plugin_that_prints_without_end_is_stopped),
		TEST(a_plugin_may_complain_at_length),
		TEST(a_plugin_that_hangs_is_killed_with_what_it_has_started),
		TEST(a_run_can_be_cancelled),
	};

	return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
