/* SPDX-License-Identifier: BSD-2-Clause */

/* The server of Services' health checks at its limit, over loopback in a network namespace. */

#include "http/port_server.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT            30080
#define CONNECTIONS_MAX 2048
#define PER_ADDRESS     256
#define BURST           65 /* what waits for accept() at most: the backlog and one */
#define TURNS           8

static void probe_answer(const struct port_request *request, struct http_response *response,
			 void *context)
{
	(void)request;
	(void)context;
	http_respond_text(response, 200, "text/plain", "ok\n");
}

static int setup(void **state)
{
	const struct rlimit files = {.rlim_cur = 8192, .rlim_max = 8192};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, err;

	(void)state;
	if (geteuid())
		return 0;
	if (unshare(CLONE_NEWNET) || setrlimit(RLIMIT_NOFILE, &files))
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	err = ioctl(fd, SIOCSIFFLAGS, &lo);
	(void)close(fd);
	return err;
}

static void loop_turn(uv_loop_t *loop)
{
	for (int i = 0; i < TURNS; i++)
		(void)uv_run(loop, UV_RUN_NOWAIT);
}

static int client_connect(unsigned int number)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr =
					   htonl(INADDR_LOOPBACK + number / PER_ADDRESS)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addr.sin_port = htons(PORT);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void all_that_come_at_once_to_a_full_server_are_answered(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: node\r\n\r\n";
	static const char ok[] = "HTTP/1.1 200 OK\r\n";
	struct port_listener *listener = NULL;
	int clients[CONNECTIONS_MAX + BURST];
	struct port_server *server;
	uv_loop_t loop;
	char answer[512];

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(uv_loop_init(&loop), 0);
	server = port_server_new(&loop, probe_answer, NULL);
	assert_non_null(server);
	assert_int_equal(port_listener_open(server, NULL, PORT, &listener), 0);
	for (unsigned int i = 0; i < CONNECTIONS_MAX + BURST; i++) {
		clients[i] = client_connect(i);
		if (i < CONNECTIONS_MAX)
			loop_turn(&loop);
	}
	loop_turn(&loop);
	for (unsigned int i = CONNECTIONS_MAX; i < CONNECTIONS_MAX + BURST; i++) {
		(void)send(clients[i], request, sizeof(request) - 1, MSG_NOSIGNAL);
		loop_turn(&loop);
		assert_true(recv(clients[i], answer, sizeof(answer), MSG_DONTWAIT) > 0);
		assert_memory_equal(answer, ok, sizeof(ok) - 1);
	}
	port_listener_close(listener);
	port_server_close(server);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	for (unsigned int i = 0; i < CONNECTIONS_MAX + BURST; i++)
		(void)close(clients[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_come_at_once_to_a_full_server_are_answered),
	};

	return cmocka_run_group_tests_name("port_server", tests, setup, NULL);
}
