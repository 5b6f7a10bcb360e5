/* SPDX-License-Identifier: BSD-2-Clause */

/* Which API server is asked next, what is said about those that fail, and what is kept on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "kube/client/servers.h"
#include "base/log.h"

#define ONE "https://10.0.0.1:6443"
#define TWO "https://10.0.0.2:6443"

struct fixture {
	struct servers servers;
	char dir[64], file[96], log_path[96];
	char log[8192];
	int saved_stderr;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	(void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/fl-servers-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	assert_non_null(mkdtemp(fixture->dir));
	(void)snprintf(fixture->file, sizeof(fixture->file), "%s/api-servers", fixture->dir);
	(void)snprintf(fixture->log_path, sizeof(fixture->log_path), "%s/log", fixture->dir);
	fixture->saved_stderr = dup(STDERR_FILENO);
	assert_non_null(freopen(fixture->log_path, "we", stderr));
	log_set_level(LOG_INFO);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	(void)fflush(stderr);
	(void)dup2(fixture->saved_stderr, STDERR_FILENO);
	(void)close(fixture->saved_stderr);
	servers_fini(&fixture->servers);
	(void)unlink(fixture->file);
	(void)unlink(fixture->log_path);
	(void)rmdir(fixture->dir);
	free(fixture);
	return 0;
}

static void given_servers(struct fixture *fixture, const char *first, const char *second)
{
	char *urls[] = {(char *)first, (char *)second};

	servers_fini(&fixture->servers);
	assert_int_equal(servers_init(&fixture->servers, urls, second ? 2 : 1, NULL, fixture->dir),
			 0);
}

static void given_file(struct fixture *fixture, const char *text)
{
	FILE *file = fopen(fixture->file, "we");

	assert_non_null(file);
	(void)fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static const char *file_text(struct fixture *fixture, char *buf, size_t size)
{
	FILE *file = fopen(fixture->file, "re");
	size_t got;

	assert_non_null(file);
	got = fread(buf, 1, size - 1, file);
	buf[got] = '\0';
	(void)fclose(file);
	return buf;
}

/* "10.0.0.7 10.0.0.8": all at port 6443. */
static void when_learned(struct fixture *fixture, const char *texts)
{
	struct server_address addresses[8] = {};
	char *copy = strdup(texts), *saved = NULL;
	size_t count = 0;

	for (char *text = strtok_r(copy, " ", &saved); text; text = strtok_r(NULL, " ", &saved)) {
		assert_int_equal(address_parse(text, &addresses[count].addr), 0);
		addresses[count++].port = htons(6443);
	}
	servers_learn(&fixture->servers, addresses, count);
	free(copy);
}

static const char *current(const struct fixture *fixture)
{
	return servers_current(&fixture->servers)->name;
}

static void when_failed(struct fixture *fixture, const char *why)
{
	servers_record_failure(&fixture->servers, servers_current(&fixture->servers), why);
}

static void when_answered(struct fixture *fixture)
{
	servers_record_answer(&fixture->servers, servers_current(&fixture->servers));
}

static unsigned int logged(struct fixture *fixture, const char *text)
{
	FILE *file = fopen(fixture->log_path, "re");
	unsigned int count = 0;
	size_t got;

	(void)fflush(stderr);
	assert_non_null(file);
	got = fread(fixture->log, 1, sizeof(fixture->log) - 1, file);
	fixture->log[got] = '\0';
	(void)fclose(file);
	for (const char *at = strstr(fixture->log, text); at; at = strstr(at + 1, text))
		count++;
	return count;
}

static void then_logged(struct fixture *fixture, unsigned int count, const char *text)
{
	if (logged(fixture, text) != count)
		fail_msg("\"%s\" is not there %u times: %s", text, count, fixture->log);
}

static void the_first_is_used_until_it_fails_and_then_the_next(void **state)
{
	struct fixture *fixture = *state;

	given_servers(fixture, ONE, TWO);
	assert_string_equal(current(fixture), ONE);
	when_answered(fixture);
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), TWO);
	then_logged(fixture, 1, "API server " ONE " does not answer (refused), trying " TWO);
	assert_null(servers_problem(&fixture->servers));
	when_answered(fixture);
	then_logged(fixture, 1, "API server " TWO " answers");
	when_answered(fixture);
	then_logged(fixture, 1, "answers");
	assert_string_equal(current(fixture), TWO);
}

static void a_server_that_others_have_given_up_already_is_not_given_up_twice(void **state)
{
	struct fixture *fixture = *state;
	const struct server *first;

	given_servers(fixture, ONE, TWO);
	first = servers_current(&fixture->servers);
	servers_record_failure(&fixture->servers, first, "refused");
	servers_record_failure(&fixture->servers, first, "refused");
	assert_string_equal(current(fixture), TWO);
	assert_null(servers_problem(&fixture->servers));
}

static void one_line_names_all_that_fail_and_half_a_minute_later_their_other_reasons(void **state)
{
	struct fixture *fixture = *state;

	given_servers(fixture, ONE, TWO);
	for (int round = 0; round < 3; round++) {
		when_failed(fixture, "refused");
		when_failed(fixture, "silent");
	}
	then_logged(fixture, 1, "(" ONE ": refused; " TWO ": silent)");
	assert_string_equal(servers_problem(&fixture->servers), ONE ": refused; " TWO ": silent");
	when_failed(fixture, "refused");
	when_failed(fixture, "refused");
	then_logged(fixture, 1, "no API server answers");
	assert_string_equal(servers_problem(&fixture->servers), ONE ": refused; " TWO ": refused");
	fixture->servers.logged_ns -= 30 * NS_PER_S;
	for (int round = 0; round < 3; round++) {
		when_failed(fixture, "refused");
		when_failed(fixture, "refused");
	}
	then_logged(fixture, 1, "(" ONE ": refused; " TWO ": refused)");
	then_logged(fixture, 2, "no API server answers");
	when_answered(fixture);
	then_logged(fixture, 1, "API server " ONE " answers");
	assert_null(servers_problem(&fixture->servers));
}

static void an_outage_that_comes_and_goes_for_some_seconds_is_said_once(void **state)
{
	struct fixture *fixture = *state;

	given_servers(fixture, ONE, NULL);
	for (int time = 0; time < 3; time++) {
		when_failed(fixture, "refused");
		assert_non_null(servers_problem(&fixture->servers));
		when_answered(fixture);
		assert_null(servers_problem(&fixture->servers));
	}
	then_logged(fixture, 1, "no API server answers");
	then_logged(fixture, 1, "API server " ONE " answers");
	when_failed(fixture, "refused");
	fixture->servers.logged_ended_ns -= 10 * NS_PER_S;
	when_failed(fixture, "refused");
	then_logged(fixture, 2, "no API server answers");
}

static void after_an_answer_each_server_is_tried_before_all_are_said_to_fail(void **state)
{
	struct fixture *fixture = *state;

	given_servers(fixture, ONE, TWO);
	when_failed(fixture, "refused");
	when_answered(fixture);
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), ONE);
	assert_null(servers_problem(&fixture->servers));
	then_logged(fixture, 0, "no API server answers");
}

static void what_the_cluster_names_is_tried_and_kept(void **state)
{
	struct fixture *fixture = *state;
	char text[256];

	given_servers(fixture, ONE, NULL);
	when_learned(fixture, "10.0.0.7 fd00::7");
	assert_non_null(strstr(file_text(fixture, text, sizeof(text)),
			       "\n10.0.0.7:6443\n[fd00::7]:6443\n"));
	given_servers(fixture, ONE, NULL);
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), "https://10.0.0.7:6443");
	assert_string_equal(servers_current(&fixture->servers)->url,
			    "https://kubernetes.default.svc:6443");
	assert_string_equal(servers_current(&fixture->servers)->connect_to, "::10.0.0.7:6443");
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), "https://[fd00::7]:6443");
	assert_string_equal(servers_current(&fixture->servers)->connect_to, "::[fd00::7]:6443");
}

static void what_it_names_no_more_is_forgotten_unless_it_is_in_use(void **state)
{
	struct fixture *fixture = *state;
	char text[256];

	given_servers(fixture, ONE, NULL);
	when_learned(fixture, "10.0.0.7 10.0.0.8");
	when_failed(fixture, "refused");
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), "https://10.0.0.8:6443");
	when_answered(fixture);
	when_learned(fixture, "10.0.0.9");
	assert_string_equal(current(fixture), "https://10.0.0.8:6443");
	assert_null(strstr(file_text(fixture, text, sizeof(text)), "10.0.0.7"));
	when_learned(fixture, "");
	assert_non_null(strstr(file_text(fixture, text, sizeof(text)), "10.0.0.9"));
}

static void an_address_that_is_configured_is_not_tried_twice(void **state)
{
	struct fixture *fixture = *state;

	given_servers(fixture, ONE "/prefix", NULL);
	when_learned(fixture, "10.0.0.1 10.0.0.2");
	when_failed(fixture, "refused");
	assert_string_equal(current(fixture), TWO);
	when_failed(fixture, "silent");
	assert_string_equal(current(fixture), ONE "/prefix");
	then_logged(fixture, 1, "(" ONE "/prefix: refused; " TWO ": silent)");
}

static void learned_ones_may_come_first(void **state)
{
	struct fixture *fixture = *state;

	given_file(fixture, "10.0.0.1:6443\n10.0.0.7:6443\n");
	given_servers(fixture, ONE, TWO);
	servers_prefer_learned(&fixture->servers);
	assert_string_equal(current(fixture), "https://10.0.0.7:6443");
}

static void a_damaged_file_is_ignored_whole_and_written_anew(void **state)
{
	static const char *const bad[] = {"10.0.0.7:6443\n10.0.0.8\n",
					  "10.0.0.7:0\n",
					  "10.0.0.7:99999\n",
					  "10.0.0.7:64x\n",
					  "[10.0.0.7:6443\n",
					  "kubernetes:6443\n",
					  "\xff\xfe\n",
					  ":\n"};
	struct fixture *fixture = *state;
	char text[256];

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		given_file(fixture, bad[i]);
		given_servers(fixture, ONE, NULL);
		assert_int_equal(fixture->servers.count, 1);
		then_logged(fixture, i + 1, "api-servers is ignored: line ");
	}
	when_learned(fixture, "10.0.0.7");
	assert_non_null(strstr(file_text(fixture, text, sizeof(text)), "\n10.0.0.7:6443\n"));
}

static void a_name_for_the_certificate_is_asked_at_the_configured_address(void **state)
{
	struct fixture *fixture = *state;
	char *urls[] = {"https://10.0.0.1:6443/prefix", "https://[fd00::1]:443"};
	const struct server *server = &fixture->servers.items[0];

	assert_int_equal(servers_init(&fixture->servers, urls, 2, "api.example", NULL), 0);
	assert_string_equal(server->url, "https://api.example:6443/prefix");
	assert_string_equal(server->connect_to, "::10.0.0.1:6443");
	assert_string_equal(server->host, "10.0.0.1:6443");
	assert_string_equal(server[1].url, "https://api.example:443");
	assert_string_equal(server[1].connect_to, "::[fd00::1]:443");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_first_is_used_until_it_fails_and_then_the_next),
		TEST(a_server_that_others_have_given_up_already_is_not_given_up_twice),
		TEST(one_line_names_all_that_fail_and_half_a_minute_later_their_other_reasons),
		TEST(an_outage_that_comes_and_goes_for_some_seconds_is_said_once),
		TEST(after_an_answer_each_server_is_tried_before_all_are_said_to_fail),
		TEST(what_the_cluster_names_is_tried_and_kept),
		TEST(what_it_names_no_more_is_forgotten_unless_it_is_in_use),
		TEST(an_address_that_is_configured_is_not_tried_twice),
		TEST(learned_ones_may_come_first),
		TEST(a_damaged_file_is_ignored_whole_and_written_anew),
		TEST(a_name_for_the_certificate_is_asked_at_the_configured_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
