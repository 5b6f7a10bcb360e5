/* SPDX-License-Identifier: BSD-2-Clause */

/* Which connection ends where there are too many. The connections are socket pairs. */

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/daemon.h"
#include "http/response.h"

#define CONNECTIONS_MAX 2
#define CLIENTS         8
#define RUNS            4 /* more than anything here needs */

struct fixture {
	uv_loop_t loop;
	struct http_daemon *daemon;
	int clients[CLIENTS];
	size_t client_count, body_size;
};

static int request_answer(void *context, struct MHD_Connection *mhd, const char *method,
			  const char *path)
{
	const struct fixture *fixture = context;
	struct http_response response = {.status = 200,
					 .headers = {{"X-Method", method}, {"X-Path", path}},
					 .body = calloc(1, fixture->body_size),
					 .body_size = fixture->body_size};

	return http_response_send(mhd, &response);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct http_daemon_options options = {
		.listen_fd = -1,
		.connections_max = CONNECTIONS_MAX,
		.connections_per_ip_max = CONNECTIONS_MAX,
		.connection_memory = 4096,
		.on_request = request_answer,
		.context = fixture,
	};

	assert_non_null(fixture);
	fixture->body_size = 2;
	*state = fixture;
	return uv_loop_init(&fixture->loop) ||
	       http_daemon_open(&fixture->loop, &options, &fixture->daemon);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	http_daemon_close(fixture->daemon);
	(void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	for (size_t i = 0; i < fixture->client_count; i++)
		(void)close(fixture->clients[i]);
	free(fixture);
	return 0;
}

/* Connects a client from an address of its own; the server has not run since. */
static int connected(struct fixture *fixture)
{
	struct sockaddr_in peer = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x0a000001 + fixture->client_count)};
	int pair[2];

	assert_true(fixture->client_count < CLIENTS);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	http_daemon_add(fixture->daemon, pair[0], (const struct sockaddr *)&peer, sizeof(peer));
	fixture->clients[fixture->client_count++] = pair[1];
	return pair[1];
}

static void when_served(struct fixture *fixture)
{
	for (int i = 0; i < RUNS; i++)
		http_daemon_run(fixture->daemon);
}

static void when_sent(struct fixture *fixture, int client, const char *text)
{
	assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	when_served(fixture);
}

static void then_open(int client)
{
	char byte;

	assert_int_equal(recv(client, &byte, 1, MSG_PEEK), -1);
	assert_int_equal(errno, EAGAIN);
}

static void then_closed(int client)
{
	char byte;

	assert_int_equal(recv(client, &byte, 1, MSG_PEEK), 0);
}

static void then_answered(int client, const char *status_line)
{
	char answer[1024];
	ssize_t length = recv(client, answer, sizeof(answer) - 1, 0);

	assert_true(length > 0);
	answer[length] = '\0';
	assert_memory_equal(answer, status_line, strlen(status_line));
}

static void the_connection_that_was_answered_longest_ago_ends(void **state)
{
	struct fixture *fixture = *state;
	int first = connected(fixture), second = connected(fixture);

	when_sent(fixture, first, "GET / HTTP/1.1\r\nHost: n\r\n\r\n");
	then_answered(first, "HTTP/1.1 200 OK\r\n");
	(void)connected(fixture);
	when_served(fixture);
	then_closed(second);
	then_open(first);
}

static void half_a_request_does_not_spare_its_connection(void **state)
{
	static const char *const halves[] = {
		"GE",
		"GET / HTTP/1.1\r\nHost:",
		"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 100\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
	};

	for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
		struct fixture *fixture;
		int half, idle, last;

		assert_int_equal(setup(state), 0);
		fixture = *state;
		half = connected(fixture);
		when_sent(fixture, half, halves[i]);
		idle = connected(fixture);
		last = connected(fixture);
		when_served(fixture);
		then_closed(half);
		then_open(idle);
		then_open(last);
		assert_int_equal(teardown(state), 0);
	}
}

static void a_connection_that_is_being_answered_is_spared(void **state)
{
	struct fixture *fixture = *state;
	int answered = connected(fixture), idle;
	char *body = malloc(1 << 22);

	fixture->body_size = 1 << 22; /* the client reads none of it */
	when_sent(fixture, answered, "GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n");
	idle = connected(fixture);
	(void)connected(fixture);
	when_served(fixture);
	then_closed(idle);
	assert_non_null(body);
	while (recv(answered, body, 1 << 22, 0) > 0)
		when_served(fixture);
	then_closed(answered);
	free(body);
}

static void each_of_many_that_come_at_once_ends_another(void **state)
{
	struct fixture *fixture = *state;
	int old[CONNECTIONS_MAX] = {connected(fixture), connected(fixture)}, new[CONNECTIONS_MAX];

	when_served(fixture);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		new[i] = connected(fixture);
	when_served(fixture);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		then_closed(old[i]);
		then_open(new[i]);
	}
}

static void a_request_without_a_body_or_a_length_is_answered_and_its_connection_stays(void **state)
{
	struct fixture *fixture = *state;
	int client = connected(fixture);

	when_sent(fixture, client, "POST / HTTP/1.1\r\nHost: n\r\n\r\n");
	then_answered(client, "HTTP/1.1 200 OK\r\n");
	then_open(client);
	when_sent(fixture, client, "GET / HTTP/1.1\r\nHost: n\r\n\r\n");
	then_answered(client, "HTTP/1.1 200 OK\r\n");
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(the_connection_that_was_answered_longest_ago_ends),
		cmocka_unit_test(half_a_request_does_not_spare_its_connection),
		test(a_connection_that_is_being_answered_is_spared),
		test(each_of_many_that_come_at_once_ends_another),
		test(a_request_without_a_body_or_a_length_is_answered_and_its_connection_stays),
	};

	return cmocka_run_group_tests_name("http_daemon", tests, NULL, NULL);
}
