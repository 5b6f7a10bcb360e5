/* SPDX-License-Identifier: BSD-2-Clause */

/* What is said of an API server's refusals, and what to do about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "kube/client/answer.h"

#define ORIGIN "/etc/kubeconfig"

static struct kube_answer answer;

static const char *why_of(long status, const char *body)
{
	struct transfer_outcome outcome = {.status = status};

	(void)snprintf(outcome.body, sizeof(outcome.body), "%s", body);
	answer_describe(&outcome, ORIGIN, &answer);
	return answer.why;
}

static void a_success_has_nothing_to_say(void **state)
{
	(void)state;
	assert_string_equal(why_of(200, ""), "");
	assert_true(answer.ok);
	assert_string_equal(why_of(503, ""), "HTTP 503");
	assert_false(answer.ok);
}

static void a_statuss_message_is_passed_on(void **state)
{
	(void)state;
	assert_string_equal(why_of(410, "{\"kind\":\"Status\",\"message\":\"too old\"}"),
			    "HTTP 410: too old");
	assert_string_equal(why_of(500, "{\"kind\":\"Status\""), "HTTP 500");
}

static void plain_text_is_passed_on_and_pages_are_not(void **state)
{
	(void)state;
	assert_string_equal(why_of(502, "no healthy upstream\nmore"),
			    "HTTP 502: no healthy upstream");
	assert_string_equal(why_of(502, "<html>sorry</html>"), "HTTP 502");
	assert_string_equal(why_of(502, "a\x1b[31mb"), "HTTP 502: a?[31mb");
}

static void an_error_of_a_load_balancer_is_no_answer_of_a_server(void **state)
{
	static const struct {
		long status;
		const char *body;
		bool is_unreached;
	} rows[] = {
		{0, "", true},
		{502, "", true},
		{503, "no healthy upstream", true},
		{504, "<html>Status</html>", true},
		{503, "{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"message\": \"cut o", false},
		{504, "{\"kind\":\"Status\",\"code\":504}", false},
		{500, "", false},
		{429, "too many", false},
		{403, "", false},
		{200, "", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		(void)why_of(rows[i].status, rows[i].body);
		if (answer.is_unreached != rows[i].is_unreached)
			fail_msg("row %zu", i);
	}
}

static void refused_credentials_are_named(void **state)
{
	(void)state;
	assert_string_equal(why_of(401, "{\"message\":\"Unauthorized\"}"),
			    "HTTP 401: Unauthorized (the credentials of " ORIGIN
			    " are not accepted)");
	assert_non_null(
		strstr(why_of(403, "{\"message\":\"User \\\"system:anonymous\\\" cannot list\"}"),
		       "(the credentials of " ORIGIN " are not accepted)"));
}

static void what_is_forbidden_has_its_remedy(void **state)
{
	(void)state;
	assert_non_null(
		strstr(why_of(403, "{\"message\":\"services is forbidden: User \\\"me\\\"\"}"),
		       "ClusterRole system:node-proxier"));
	assert_non_null(strstr(answer.why, "services is forbidden"));
}

static void a_long_message_leaves_room_for_the_remedy(void **state)
{
	char body[TRANSFER_BODY_KEPT], message[1000];

	(void)state;
	memset(message, 'x', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	(void)snprintf(body, sizeof(body), "{\"message\":\"%s\"}", message);
	assert_non_null(strstr(why_of(403, body), "list and watch this)"));
}

static void distrust_says_where_to_look(void **state)
{
	const struct transfer_outcome outcome = {
		.error = "its certificate is not trusted (self-signed)", .is_distrust = true};

	(void)state;
	answer_describe(&outcome, ORIGIN, &answer);
	assert_string_equal(answer.why, "its certificate is not trusted (self-signed); see "
					"certificate-authority and tls-server-name in " ORIGIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_success_has_nothing_to_say),
		cmocka_unit_test(a_statuss_message_is_passed_on),
		cmocka_unit_test(plain_text_is_passed_on_and_pages_are_not),
		cmocka_unit_test(an_error_of_a_load_balancer_is_no_answer_of_a_server),
		cmocka_unit_test(refused_credentials_are_named),
		cmocka_unit_test(what_is_forbidden_has_its_remedy),
		cmocka_unit_test(a_long_message_leaves_room_for_the_remedy),
		cmocka_unit_test(distrust_says_where_to_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
