/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "health/health.h"

#define SECOND 1000000000ULL
/* 2026-05-04T12:34:56Z */
#define BEGIN (1777898096 * SECOND)

static struct health_clock now;
static bool eligible;
static struct health_check checks[2];
static char answered[64];

static struct health_clock fake_now(void)
{
	return now;
}

static void when_time_passes(uint64_t ns)
{
	now.monotonic_ns += ns;
	now.realtime_ns += ns;
}

static bool node_is_eligible(void *context)
{
	(void)context;
	return eligible;
}

static size_t give_checks(struct health_check ret_checks[HEALTH_CHECKS_MAX], void *context)
{
	(void)context;
	memcpy(ret_checks, checks, sizeof(checks));
	return 2;
}

static void note_answer(const char *probe, unsigned int status, void *context)
{
	(void)context;
	(void)snprintf(answered, sizeof(answered), "%s %u", probe, status);
}

static int setup(void **state)
{
	const struct health_options options = {
		.now = fake_now,
		.is_node_eligible = node_is_eligible,
		.checks = give_checks,
		.answered = note_answer,
	};

	now = (struct health_clock){.monotonic_ns = 5 * SECOND, .realtime_ns = BEGIN};
	eligible = true;
	checks[0] = (struct health_check){.name = "source synced", .is_passed = true};
	checks[1] = (struct health_check){.name = "hooks", .is_passed = true};
	*state = health_new(&options);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	health_free(*state);
	return 0;
}

static void given_published(struct health *health)
{
	health_updated(health, FAMILY_IPV4);
	health_updated(health, FAMILY_IPV6);
}

static void then_answers_with(struct health *health, const char *path, bool is_verbose,
			      unsigned int status, const char *body)
{
	const struct http_request request = {.path = path, .is_verbose = is_verbose};
	struct http_response response = {};

	health_handle(&request, &response, health);
	assert_int_equal(response.status, status);
	assert_string_equal(response.body, body);
	assert_int_equal(response.body_size, strlen(body));
	assert_string_equal(response.headers[1].name, "X-Content-Type-Options");
	assert_string_equal(response.headers[1].value, "nosniff");
	free(response.body);
}

static void then_answers(struct health *health, const char *path, unsigned int status,
			 const char *body)
{
	then_answers_with(health, path, false, status, body);
}

static void test_before_the_first_publish_it_is_healthy_and_names_no_family(void **state)
{
	health_queued(*state, FAMILY_IPV4);
	when_time_passes(1000 * SECOND);

	then_answers(*state, "/livez", 200,
		     "{\"lastUpdated\":\"2026-05-04T12:51:36Z\",\"currentTime\":\"2026-05-04T12:51:"
		     "36Z\",\"healthy\":true}");
	assert_string_equal(answered, "livez 200");
}

static void test_idle_is_healthy_and_last_updated_is_now(void **state)
{
	given_published(*state);
	when_time_passes(3600 * SECOND + 120000000);

	then_answers(*state, "/healthz", 200,
		     "{\"lastUpdated\":\"2026-05-04T13:34:56.12Z\",\"currentTime\":\"2026-05-04T13:"
		     "34:56.12Z\",\"nodeEligible\":true,\"healthy\":true,\"status\":{\"IPv4\":{"
		     "\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"healthy\":true},\"IPv6\":{"
		     "\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"healthy\":true}}}");
	assert_string_equal(answered, "healthz 200");
}

static void
test_a_change_that_waits_60_seconds_makes_its_family_and_the_whole_unhealthy(void **state)
{
	given_published(*state);
	health_queued(*state, FAMILY_IPV6);
	when_time_passes(60 * SECOND - 1);
	assert_true(health_is_alive(*state));
	when_time_passes(1);

	then_answers(
		*state, "/livez", 503,
		"{\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"currentTime\":\"2026-05-04T12:35:"
		"56Z\",\"healthy\":false,\"status\":{\"IPv4\":{\"lastUpdated\":\"2026-05-04T12:"
		"34:56Z\",\"healthy\":true},\"IPv6\":{\"lastUpdated\":\"2026-05-04T12:34:56Z\","
		"\"healthy\":false}}}");
	assert_string_equal(answered, "livez 503");
}

static void test_later_changes_do_not_make_the_oldest_younger(void **state)
{
	given_published(*state);
	health_queued(*state, FAMILY_IPV4);
	when_time_passes(40 * SECOND);
	health_queued(*state, FAMILY_IPV4);
	assert_true(health_is_alive(*state));
	when_time_passes(40 * SECOND);
	assert_false(health_is_alive(*state));
}

static void test_a_publish_clears_what_waited(void **state)
{
	given_published(*state);
	health_queued(*state, FAMILY_IPV4);
	when_time_passes(90 * SECOND);
	health_updated(*state, FAMILY_IPV4);

	assert_true(health_is_alive(*state));
	when_time_passes(90 * SECOND);
	assert_true(health_is_alive(*state));
}

static void test_a_node_that_leaves_fails_healthz_only_and_stays_healthy(void **state)
{
	eligible = false;
	health_updated(*state, FAMILY_IPV4);

	then_answers(*state, "/healthz", 503,
		     "{\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"currentTime\":\"2026-05-04T12:34:"
		     "56Z\",\"nodeEligible\":false,\"healthy\":true,\"status\":{\"IPv4\":{"
		     "\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"healthy\":true}}}");
	then_answers(*state, "/livez", 200,
		     "{\"lastUpdated\":\"2026-05-04T12:34:56Z\",\"currentTime\":\"2026-05-04T12:34:"
		     "56Z\",\"healthy\":true,\"status\":{\"IPv4\":{\"lastUpdated\":\"2026-05-04T12:"
		     "34:56Z\",\"healthy\":true}}}");
}

static void test_ready_is_ok_in_short_and_a_list_when_asked(void **state)
{
	then_answers(*state, "/readyz", 200, "ok");
	then_answers_with(*state, "/readyz", true, 200,
			  "[+]source synced ok\n[+]hooks ok\nreadyz check passed\n");
}

static void test_unready_says_which_check_failed_and_why(void **state)
{
	checks[1].is_passed = false;
	(void)snprintf(checks[1].why, HEALTH_WHY_SIZE, "eth0: no such device");

	then_answers(*state, "/readyz", 503,
		     "[+]source synced ok\n[-]hooks failed: eth0: no such device\n"
		     "readyz check failed\n");
}

static void test_an_informative_check_is_shown_but_does_not_make_unready(void **state)
{
	checks[0].is_passed = false;
	checks[0].is_informative = true;
	(void)snprintf(checks[0].why, HEALTH_WHY_SIZE, "refused");

	then_answers(*state, "/readyz", 200, "ok");
	then_answers_with(*state, "/readyz", true, 200,
			  "[-]source synced failed: refused (not fatal)\n[+]hooks ok\n"
			  "readyz check passed\n");
}

static void test_other_paths_are_left_alone(void **state)
{
	const struct http_request request = {.path = "/healthz/"};
	struct http_response response = {};

	health_handle(&request, &response, *state);
	assert_int_equal(response.status, 0);
	assert_null(response.body);
}

int main(void)
{
#define WITH_HEALTH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_HEALTH(test_before_the_first_publish_it_is_healthy_and_names_no_family),
		WITH_HEALTH(test_idle_is_healthy_and_last_updated_is_now),
		WITH_HEALTH(
			test_a_change_that_waits_60_seconds_makes_its_family_and_the_whole_unhealthy),
		WITH_HEALTH(test_later_changes_do_not_make_the_oldest_younger),
		WITH_HEALTH(test_a_publish_clears_what_waited),
		WITH_HEALTH(test_a_node_that_leaves_fails_healthz_only_and_stays_healthy),
		WITH_HEALTH(test_ready_is_ok_in_short_and_a_list_when_asked),
		WITH_HEALTH(test_unready_says_which_check_failed_and_why),
		WITH_HEALTH(test_an_informative_check_is_shown_but_does_not_make_unready),
		WITH_HEALTH(test_other_paths_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
