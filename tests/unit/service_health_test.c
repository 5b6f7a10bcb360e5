/* SPDX-License-Identifier: BSD-2-Clause */

/* Health checks of Services: what is planned, what is said, and the ports that say it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/address.h"
#include "health/service_health.h"
#include "plan/health_check.h"

#define ANSWER_SIZE 2048

static struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

/* Planning. */

static struct slice_port http_port = {.name = "http", .proto = IPPROTO_TCP, .port = 8080};
static struct slice_port metrics_port = {.name = "metrics", .proto = IPPROTO_TCP, .port = 9090};
static struct slice_port all_ports = {.name = "all", .proto = IPPROTO_TCP, .port = 0};

static struct slice_endpoint at(const char *addr, const char *node)
{
	return (struct slice_endpoint){
		.addr = ip(addr), .node_name = (char *)node, .ready = true, .serving = true};
}

static struct slice_object slice(struct slice_endpoint *endpoints, __u32 count,
				 struct slice_port *port)
{
	return (struct slice_object){
		.endpoints = endpoints,
		.endpoint_count = count,
		.ports = port,
		.port_count = 1,
		.family = address_family(&endpoints->addr),
	};
}

static struct object balanced(const char *vip, const char *second_vip)
{
	struct object service = {
		.kind = OBJECT_SERVICE,
		.namespace_ = (char *)"shop",
		.name = (char *)"web",
		.service = {.type = SERVICE_TYPE_LOAD_BALANCER,
			    .external_local = true,
			    .health_check_node_port = 31000,
			    .cluster_ips = {ip(vip)},
			    .cluster_ip_count = 1},
	};

	if (second_vip)
		service.service.cluster_ips[service.service.cluster_ip_count++] = ip(second_vip);
	return service;
}

static struct planned_health_check
when_planned(const struct object *service, const struct slice_object *const *slices, size_t count)
{
	const struct plan_context context = {.node_name = "here"};
	struct planned_health_check check;

	assert_int_equal(plan_health_check(&context, service, slices, count, &check), 0);
	return check;
}

static void only_a_load_balancer_with_policy_local_is_checked(void **state)
{
	struct object service = balanced("10.96.0.1", NULL);
	struct label label = {(char *)LABEL_PROXY_NAME, (char *)"other"};

	(void)state;
	assert_int_equal(when_planned(&service, NULL, 0).port, 31000);
	service.service.external_local = false;
	assert_int_equal(when_planned(&service, NULL, 0).port, 0);
	service.service.external_local = true;
	service.service.type = SERVICE_TYPE_NODE_PORT;
	assert_int_equal(when_planned(&service, NULL, 0).port, 0);
	service.service.type = SERVICE_TYPE_LOAD_BALANCER;
	service.labels = (struct labels){&label, 1};
	assert_int_equal(when_planned(&service, NULL, 0).port, 0);
}

static void an_address_counts_once_over_all_ports_and_slices(void **state)
{
	struct slice_endpoint first[] = {at("10.0.0.1", "here"), at("10.0.0.2", "here"),
					 at("10.0.0.3", "there"), at("10.0.0.4", NULL)};
	struct slice_endpoint second[] = {at("10.0.0.2", "here"), at("10.0.0.5", "here")};
	struct slice_endpoint third[] = {at("10.0.0.6", "here")};
	const struct slice_object slices[] = {slice(first, 4, &http_port),
					      slice(second, 2, &metrics_port),
					      slice(third, 1, &all_ports)};
	const struct slice_object *list[] = {&slices[0], &slices[1], &slices[2]};
	struct object service = balanced("10.96.0.1", NULL);

	(void)state;
	assert_int_equal(when_planned(&service, list, 3).ipv4_endpoints, 3);
}

static void only_ready_endpoints_count(void **state)
{
	struct slice_endpoint endpoints[] = {at("10.0.0.1", "here"), at("10.0.0.2", "here"),
					     at("10.0.0.3", "here")};
	const struct slice_object slices[] = {slice(endpoints, 3, &http_port)};
	const struct slice_object *list[] = {&slices[0]};
	struct object service = balanced("10.96.0.1", NULL);

	(void)state;
	endpoints[0].ready = false;
	endpoints[1].ready = false;
	endpoints[1].terminating = true;
	assert_int_equal(when_planned(&service, list, 1).ipv4_endpoints, 1);
}

static void each_family_has_its_own_endpoints(void **state)
{
	struct slice_endpoint ipv4[] = {at("10.0.0.1", "here")};
	struct slice_endpoint ipv6[] = {at("fd00::1", "here"), at("fd00::2", "here")};
	const struct slice_object slices[] = {slice(ipv4, 1, &http_port),
					      slice(ipv6, 2, &http_port)};
	const struct slice_object *list[] = {&slices[0], &slices[1]};
	struct object both = balanced("10.96.0.1", "fd00:96::1");
	struct object single = balanced("fd00:96::1", NULL);
	struct planned_health_check check;

	(void)state;
	check = when_planned(&both, list, 2);
	assert_int_equal(check.ipv4_endpoints, 1);
	assert_int_equal(check.ipv6_endpoints, 2);
	check = when_planned(&single, list, 2);
	assert_int_equal(check.ipv4_endpoints, 2);
	assert_int_equal(check.ipv6_endpoints, 2);
}

/* Answering. */

static const char good_body[] = "{\n"
				"\t\"service\": {\n"
				"\t\t\"namespace\": \"shop\",\n"
				"\t\t\"name\": \"web\"\n"
				"\t},\n"
				"\t\"localEndpoints\": 2,\n"
				"\t\"serviceProxyHealthy\": true\n"
				"}";

static void an_answer_is_kube_proxys_to_the_byte(void **state)
{
	const struct service_health health = {"shop", "web", 2, true};
	struct http_response response;

	(void)state;
	service_health_answer(&health, &response);
	assert_int_equal(response.status, 200);
	assert_int_equal(response.body_size, strlen(good_body));
	assert_memory_equal(response.body, good_body, response.body_size);
	assert_string_equal(response.headers[2].name, "X-Load-Balancing-Endpoint-Weight");
	assert_string_equal(response.headers[2].value, "2");
	free(response.body);
}

static void a_node_without_endpoints_or_an_unwell_proxy_is_unavailable(void **state)
{
	const struct service_health none = {"shop", "web", 0, true};
	const struct service_health unwell = {"shop", "web", 2, false};
	struct http_response response;

	(void)state;
	service_health_answer(&none, &response);
	assert_int_equal(response.status, 503);
	assert_non_null(strstr(response.body, "\"localEndpoints\": 0,"));
	free(response.body);
	service_health_answer(&unwell, &response);
	assert_int_equal(response.status, 503);
	assert_non_null(strstr(response.body, "\"serviceProxyHealthy\": false\n"));
	free(response.body);
}

/* Listening. */

struct fixture {
	uv_loop_t loop;
	struct service_health_ports *ports;
	unsigned failures;
	char failure[256];
	bool is_alive;
};

static bool is_alive(void *context)
{
	const struct fixture *fixture = context;

	return fixture->is_alive;
}

static void note_failure(const char *namespace_, const char *name, const char *note, void *context)
{
	struct fixture *fixture = context;

	assert_string_equal(namespace_, "shop");
	assert_non_null(name);
	fixture->failures++;
	(void)snprintf(fixture->failure, sizeof(fixture->failure), "%s", note);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct service_health_options options = {"here", is_alive, note_failure, fixture};

	assert_non_null(fixture);
	fixture->is_alive = true;
	assert_int_equal(uv_loop_init(&fixture->loop), 0);
	fixture->ports = service_health_ports_new(&fixture->loop, &options);
	assert_non_null(fixture->ports);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	service_health_ports_close(fixture->ports);
	(void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	free(fixture);
	return 0;
}

static int socket_at(int family, const char *addr, __u16 port, bool listens)
{
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	const struct sockaddr *to =
		family == AF_INET ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6;
	socklen_t size = family == AF_INET ? sizeof(ipv4) : sizeof(ipv6);
	int fd = socket(family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	if (family == AF_INET)
		assert_int_equal(inet_pton(family, addr, &ipv4.sin_addr), 1);
	else
		assert_int_equal(inet_pton(family, addr, &ipv6.sin6_addr), 1);
	if (listens ? bind(fd, to, size) || listen(fd, 1) : connect(fd, to, size)) {
		assert_int_equal(close(fd), 0);
		return -1;
	}
	return fd;
}

/* A port that nobody has. */
static __u16 free_port(void)
{
	struct sockaddr_in addr = {};
	socklen_t size = sizeof(addr);
	int fd = socket_at(AF_INET, "127.0.0.1", 0, true);

	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
	assert_int_equal(close(fd), 0);
	return ntohs(addr.sin_port);
}

static void given_wanted(struct fixture *fixture, const char *name, __u16 port, size_t endpoints)
{
	const struct planned_health_check check = {port, endpoints, endpoints};

	assert_int_equal(service_health_ports_plan(fixture->ports, "shop", name, &check), 0);
}

/* What an address says; "" where nobody listens. */
static const char *asked(struct fixture *fixture, int family, const char *addr, __u16 port,
			 const char *request)
{
	static char answer[ANSWER_SIZE];
	int fd = socket_at(family, addr, port, false);
	ssize_t size = 0, got;

	answer[0] = '\0';
	if (fd < 0)
		return answer;
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	do {
		(void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
		got = recv(fd, answer + size, sizeof(answer) - 1 - (size_t)size, MSG_DONTWAIT);
		size += got > 0 ? got : 0;
	} while (got > 0 || (got < 0 && errno == EAGAIN));
	answer[size] = '\0';
	assert_int_equal(close(fd), 0);
	return answer;
}

#define GET "GET /any/path?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static bool answers_for(struct fixture *fixture, __u16 port, const char *name)
{
	const char *answer = asked(fixture, AF_INET, "127.0.0.1", port, GET);
	char wanted[64];

	(void)snprintf(wanted, sizeof(wanted), "\"name\": \"%s\"", name);
	return strstr(answer, wanted) != NULL;
}

static void one_listener_answers_both_families(void **state)
{
	struct fixture *fixture = *state;
	const struct planned_health_check check = {free_port(), 1, 2};

	assert_int_equal(service_health_ports_plan(fixture->ports, "shop", "web", &check), 0);
	service_health_ports_apply(fixture->ports);
	assert_non_null(strstr(asked(fixture, AF_INET, "127.0.0.1", check.port, GET),
			       "\"localEndpoints\": 1,"));
	assert_non_null(
		strstr(asked(fixture, AF_INET6, "::1", check.port, GET), "\"localEndpoints\": 2,"));
	assert_int_equal(fixture->failures, 0);
}

static void any_method_is_answered_with_a_body_or_without(void **state)
{
	static const char *const requests[] = {
		GET,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
		"DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"BREW /pot HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	};
	struct fixture *fixture = *state;
	__u16 port = free_port();

	given_wanted(fixture, "web", port, 2);
	service_health_ports_apply(fixture->ports);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const char *answer = asked(fixture, AF_INET, "127.0.0.1", port, requests[i]);
		const char *body = strstr(answer, "\r\n\r\n");

		assert_non_null(body);
		assert_string_equal(body + 4, good_body);
		assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
	}
}

static void a_count_and_the_proxys_health_are_told_as_they_are_now(void **state)
{
	struct fixture *fixture = *state;
	__u16 port = free_port();

	given_wanted(fixture, "web", port, 1);
	service_health_ports_apply(fixture->ports);
	given_wanted(fixture, "web", port, 0);
	assert_non_null(strstr(asked(fixture, AF_INET, "127.0.0.1", port, GET), "HTTP/1.1 503 "));
	given_wanted(fixture, "web", port, 1);
	fixture->is_alive = false;
	assert_non_null(strstr(asked(fixture, AF_INET, "127.0.0.1", port, GET), "HTTP/1.1 503 "));
}

static void a_port_moves_and_closes_with_the_next_apply(void **state)
{
	struct fixture *fixture = *state;
	__u16 old = free_port(), new = free_port();

	given_wanted(fixture, "web", old, 1);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, old, "web"));
	given_wanted(fixture, "web", new, 1);
	service_health_ports_apply(fixture->ports);
	assert_string_equal(asked(fixture, AF_INET, "127.0.0.1", old, GET), "");
	assert_true(answers_for(fixture, new, "web"));
	assert_int_equal(service_health_ports_plan(fixture->ports, "shop", "web", NULL), 0);
	service_health_ports_apply(fixture->ports);
	assert_string_equal(asked(fixture, AF_INET, "127.0.0.1", new, GET), "");
}

static void services_hand_ports_to_each_other(void **state)
{
	struct fixture *fixture = *state;
	__u16 first = free_port(), second = free_port();

	given_wanted(fixture, "web", first, 1);
	given_wanted(fixture, "api", second, 1);
	service_health_ports_apply(fixture->ports);
	given_wanted(fixture, "web", second, 1);
	given_wanted(fixture, "api", first, 1);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, second, "web"));
	assert_true(answers_for(fixture, first, "api"));
	assert_int_equal(fixture->failures, 0);
}

static void a_taken_port_is_told_once_and_had_when_it_is_free(void **state)
{
	struct fixture *fixture = *state;
	__u16 port = free_port();
	int holder = socket_at(AF_INET, "127.0.0.1", port, true);
	char expected[128];

	assert_true(holder >= 0);
	given_wanted(fixture, "web", port, 1);
	service_health_ports_apply(fixture->ports);
	service_health_ports_apply(fixture->ports);
	assert_int_equal(fixture->failures, 1);
	(void)snprintf(expected, sizeof(expected),
		       "node here failed to start healthcheck \"shop/web\" on port %u: "
		       "Address already in use",
		       port);
	assert_string_equal(fixture->failure, expected);
	assert_int_equal(close(holder), 0);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, port, "web"));
}

static void two_services_cannot_have_one_port(void **state)
{
	struct fixture *fixture = *state;
	__u16 port = free_port();

	given_wanted(fixture, "web", port, 1);
	service_health_ports_apply(fixture->ports);
	given_wanted(fixture, "api", port, 1);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, port, "web"));
	assert_int_equal(fixture->failures, 1);
	assert_int_equal(service_health_ports_plan(fixture->ports, "shop", "web", NULL), 0);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, port, "api"));
}

static void listeners_follow_the_addresses(void **state)
{
	const struct ip_addr one[] = {ip("127.0.0.1")};
	const struct ip_addr other[] = {ip("127.0.0.2"), ip("::1")};
	struct fixture *fixture = *state;
	__u16 port = free_port();

	given_wanted(fixture, "web", port, 1);
	assert_int_equal(service_health_ports_set_addresses(fixture->ports, one, 1), 0);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, port, "web"));
	assert_string_equal(asked(fixture, AF_INET, "127.0.0.2", port, GET), "");
	assert_int_equal(service_health_ports_set_addresses(fixture->ports, other, 2), 0);
	service_health_ports_apply(fixture->ports);
	assert_false(answers_for(fixture, port, "web"));
	assert_string_not_equal(asked(fixture, AF_INET, "127.0.0.2", port, GET), "");
	assert_string_not_equal(asked(fixture, AF_INET6, "::1", port, GET), "");
	assert_int_equal(service_health_ports_set_addresses(fixture->ports, one, 0), 0);
	service_health_ports_apply(fixture->ports);
	assert_string_equal(asked(fixture, AF_INET6, "::1", port, GET), "");
	assert_int_equal(service_health_ports_set_addresses(fixture->ports, NULL, 0), 0);
	service_health_ports_apply(fixture->ports);
	assert_true(answers_for(fixture, port, "web"));
	assert_int_equal(fixture->failures, 0);
}

int main(void)
{
#define LISTENING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_load_balancer_with_policy_local_is_checked),
		cmocka_unit_test(an_address_counts_once_over_all_ports_and_slices),
		cmocka_unit_test(only_ready_endpoints_count),
		cmocka_unit_test(each_family_has_its_own_endpoints),
		cmocka_unit_test(an_answer_is_kube_proxys_to_the_byte),
		cmocka_unit_test(a_node_without_endpoints_or_an_unwell_proxy_is_unavailable),
		LISTENING(one_listener_answers_both_families),
		LISTENING(any_method_is_answered_with_a_body_or_without),
		LISTENING(a_count_and_the_proxys_health_are_told_as_they_are_now),
		LISTENING(a_port_moves_and_closes_with_the_next_apply),
		LISTENING(services_hand_ports_to_each_other),
		LISTENING(a_taken_port_is_told_once_and_had_when_it_is_free),
		LISTENING(two_services_cannot_have_one_port),
		LISTENING(listeners_follow_the_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
