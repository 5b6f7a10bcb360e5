/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Calls to one server: while the first connects, the others wait, for they may share its
 * connection. The server here accepts and says nothing, so nobody's TLS ever gets further.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "kube/client/transfer.h"

#define CALLS      3
#define PATIENCE_S 10
/* A moment that is long enough for a call that does not wait to connect. */
#define MOMENT_MS 100

static uv_loop_t loop;
static uv_timer_t timer;
static struct transfer_pool *pool;
static struct transfer *calls[CALLS];
static unsigned int ended;
static char url[64];
static int listener;

static void on_done(const struct transfer_outcome *outcome, void *context)
{
	(void)context;
	assert_non_null(outcome->error);
	ended++;
}

static void when_called(unsigned int index, uint32_t total_s)
{
	const struct transfer_events events = {.done = on_done};
	const struct transfer_request request = {
		.method = "GET", .url = url, .proxy_url = "", .insecure = true, .total_s = total_s};

	assert_int_equal(transfer_start(pool, &request, &events, NULL, &calls[index]), 0);
}

static void on_timer(uv_timer_t *handle)
{
	(void)handle;
}

/* Runs the loop until one more connection has come, for so long at most; false: none has. */
static bool is_connected_to(uint64_t patience_ms)
{
	uint64_t end_ms = uv_now(&loop) + patience_ms;
	int fd;

	do {
		fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			return true; /* it stays open, and silent, until the process ends */
		assert_int_equal(errno, EAGAIN);
		(void)uv_timer_start(&timer, on_timer, 5, 0);
		(void)uv_run(&loop, UV_RUN_ONCE);
	} while (uv_now(&loop) < end_ms);
	return false;
}

static void then_another_connects(void)
{
	assert_true(is_connected_to(PATIENCE_S * 1000));
}

static void then_nobody_else_connects(void)
{
	assert_false(is_connected_to(MOMENT_MS));
}

static void given_calls_of_which_one_connects(void)
{
	for (unsigned int i = 0; i < CALLS; i++)
		when_called(i, 0);
	then_another_connects();
}

/* A loopback of our own, and a server that never speaks. */
static int network_open(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	socklen_t size = sizeof(addr);

	if (unshare(CLONE_NEWNET))
		return -1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0 || ioctl(listener, SIOCSIFFLAGS, &up) ||
	    bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, CALLS) ||
	    getsockname(listener, (struct sockaddr *)&addr, &size))
		return -1;
	(void)snprintf(url, sizeof(url), "https://127.0.0.1:%u/", ntohs(addr.sin_port));
	return 0;
}

static int setup(void **state)
{
	(void)state;
	ended = 0;
	return network_open() || uv_loop_init(&loop) || uv_timer_init(&loop, &timer) ||
	       transfer_pool_open(&loop, NULL, NULL, &pool);
}

static int teardown(void **state)
{
	(void)state;
	transfer_pool_close(pool);
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)close(listener);
	return uv_loop_close(&loop);
}

static void one_call_connects_at_a_time(void **state)
{
	(void)state;
	given_calls_of_which_one_connects();
	then_nobody_else_connects();
	assert_int_equal(ended, 0);
}

static void a_call_that_waits_goes_on_when_the_one_that_connects_is_cancelled(void **state)
{
	(void)state;
	given_calls_of_which_one_connects();

	for (unsigned int i = 0; i + 1 < CALLS; i++) {
		transfer_cancel(calls[i]);
		then_another_connects();
		then_nobody_else_connects();
	}
	assert_int_equal(ended, 0);
}

static void a_call_that_waits_goes_on_when_the_one_that_connects_has_failed(void **state)
{
	(void)state;
	when_called(0, 1);
	when_called(1, 0);
	then_another_connects();
	then_nobody_else_connects();

	then_another_connects();
	assert_int_equal(ended, 1);
}

static void a_call_that_waits_may_be_cancelled(void **state)
{
	(void)state;
	given_calls_of_which_one_connects();

	transfer_cancel(calls[1]);
	then_nobody_else_connects();
	transfer_cancel(calls[0]);
	then_another_connects();
	then_nobody_else_connects();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_call_connects_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_call_that_waits_goes_on_when_the_one_that_connects_is_cancelled, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_call_that_waits_goes_on_when_the_one_that_connects_has_failed, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_call_that_waits_may_be_cancelled, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
