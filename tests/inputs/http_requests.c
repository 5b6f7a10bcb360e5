/* SPDX-License-Identifier: BSD-2-Clause */
#include "http_requests.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "health/health.h"
#include "health/service_health.h"
#include "http/server.h"

#define PROBES_ADDRESS    "127.0.0.1:10256"
#define PROBES_PORT       10256
#define HEALTH_CHECK_PORT 30080
/* Addresses of clients: a connection that has ended keeps its port for a minute. */
#define CLIENTS 4096
/* After so many turns of the loop without a byte the server has read what it was sent. */
#define TURNS_QUIET 3
/* No connection lives that long after its client has ended it. */
#define TURNS_MAX 100000

/* All that a client read until its connection ended. */
struct answer {
	char *text;
	size_t size;
	bool is_reset; /* the server closed with more to read; some of its answer may be lost */
};

static uv_loop_t loop;

/* Answers have the time in them, and are compared. */
static struct health_clock clock_standing(void)
{
	return (struct health_clock){.monotonic_ns = 1, .realtime_ns = 1};
}

static bool yes(void *context)
{
	(void)context;
	return true;
}

static size_t checks_list(struct health_check ret_checks[HEALTH_CHECKS_MAX], void *context)
{
	(void)context;
	ret_checks[0] = (struct health_check){.name = "source", .is_passed = true};
	ret_checks[1] = (struct health_check){.name = "maps", .why = "a map is full"};
	return 2;
}

static void failure_ignore(const char *namespace_, const char *name, const char *note,
			   void *context)
{
	(void)namespace_;
	(void)name;
	(void)note;
	(void)context;
}

/* Nobody else's traffic, and no port that somebody else has. */
static bool namespace_enter(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = -1;
	bool is_up = !unshare(CLONE_NEWNET) && (fd = socket(AF_INET, SOCK_DGRAM, 0)) >= 0 &&
		     !ioctl(fd, SIOCSIFFLAGS, &lo);

	(void)close(fd);
	return is_up;
}

static bool probes_open(void)
{
	const struct health_options health = {
		.now = clock_standing, .is_node_eligible = yes, .checks = checks_list};
	static struct http_server *server;
	const struct http_server_options options = {.what = "healthz",
						    .address = PROBES_ADDRESS,
						    .is_bind_fatal = true,
						    .handler = health_handle,
						    .context = health_new(&health)};

	return options.context && !http_server_open(&loop, &options, &server);
}

static bool health_checks_open(void)
{
	const struct service_health_options options = {
		.node_name = "node1", .is_alive = yes, .failed = failure_ignore};
	const struct planned_health_check check = {
		.port = HEALTH_CHECK_PORT, .ipv4_endpoints = 1, .ipv6_endpoints = 1};
	static struct service_health_ports *ports;

	ports = service_health_ports_new(&loop, &options);
	if (!ports || service_health_ports_plan(ports, "default", "web", &check))
		return false;
	service_health_ports_apply(ports);
	return true;
}

void http_requests_begin(void)
{
	if (namespace_enter() && !uv_loop_init(&loop) && probes_open() && health_checks_open())
		return;
	(void)fprintf(stderr, "inputs_fuzz: cannot start the servers in a network namespace: run "
			      "it as root\n");
	exit(2);
}

static int client_connect(__u16 port)
{
	const struct sockaddr_in server = {.sin_family = AF_INET,
					   .sin_port = htons(port),
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static unsigned int count;
	const struct sockaddr_in client = {.sin_family = AF_INET,
					   .sin_addr.s_addr =
						   htonl(INADDR_LOOPBACK + count++ % CLIENTS)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&client, sizeof(client)) ||
	    connect(fd, (const struct sockaddr *)&server, sizeof(server)))
		abort();
	return fd;
}

/* Returns how many of the bytes are sent now; all of them if nobody reads them any more. */
static size_t client_send(int fd, const uint8_t *data, size_t size)
{
	ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return (size_t)sent;
	return errno == EAGAIN ? 0 : size;
}

/* Returns false at the end of the connection. */
static bool client_receive(int fd, struct answer *answer)
{
	char piece[4096];
	ssize_t received = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

	if (received <= 0) {
		answer->is_reset = received && errno != EAGAIN;
		return received && !answer->is_reset;
	}
	answer->text = realloc(answer->text, answer->size + (size_t)received);
	if (!answer->text)
		abort();
	memcpy(answer->text + answer->size, piece, (size_t)received);
	answer->size += (size_t)received;
	return true;
}

/*
 * Sends the bytes before `cut`, a while later the others, and then says that this is all. That
 * comes last: libmicrohttpd does not notice it in one event with a request, and closes an idle
 * connection in its own time.
 */
static void converse(__u16 port, const uint8_t *data, size_t size, size_t cut,
		     struct answer *ret_answer)
{
	int fd = client_connect(port), quiet = 0;
	bool is_ended = false;
	size_t sent = 0, end = cut;

	*ret_answer = (struct answer){};
	do {
		const size_t done = sent + ret_answer->size;

		if (quiet >= TURNS_QUIET && sent == size && !is_ended)
			is_ended = !shutdown(fd, SHUT_WR) || errno == ENOTCONN;
		if (quiet >= TURNS_QUIET)
			end = size;
		sent += client_send(fd, data + sent, end - sent);
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		if (!client_receive(fd, ret_answer))
			break;
		quiet = sent + ret_answer->size == done ? quiet + 1 : 0;
	} while (quiet < TURNS_MAX);
	if (quiet == TURNS_MAX)
		abort();
	(void)close(fd);
}

/* Removes all that begins and ends so, without the end. */
static void answer_remove(struct answer *answer, const char *begin, const char *end)
{
	char *at = answer->text, *after;

	while (at && (at = memmem(at, answer->size - (size_t)(at - answer->text), begin,
				  strlen(begin)))) {
		const size_t rest = answer->size - (size_t)(at - answer->text) - strlen(begin);

		after = memmem(at + strlen(begin), rest, end, strlen(end));
		if (!after)
			return;
		memmove(at, after, answer->size - (size_t)(after - answer->text));
		answer->size -= (size_t)(after - at);
	}
}

/* What may differ: the time, and whether the client had to be asked for its body. */
static void answer_normalize(struct answer *answer)
{
	answer_remove(answer, "\r\nDate: ", "\r\n");
	answer_remove(answer, "HTTP/1.1 100 Continue\r\n\r\n", "");
}

static void answer_check(const struct answer *answer)
{
	static const char version[] = "HTTP/1.";

	if (answer->size &&
	    (answer->size < sizeof(version) || memcmp(answer->text, version, sizeof(version) - 1)))
		abort();
}

static void next_client_check(__u16 port)
{
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: node1\r\n\r\n";
	static const char wanted[] = "HTTP/1.1 200 OK\r\n";
	struct answer answer;

	converse(port, (const uint8_t *)request, sizeof(request) - 1, sizeof(request) - 1, &answer);
	if (answer.size < sizeof(wanted) || memcmp(answer.text, wanted, sizeof(wanted) - 1))
		abort();
	free(answer.text);
}

/*
 * A CR that no LF follows is no end of a line (RFC 9112, 2.2). What libmicrohttpd makes of one
 * depends on whether the rest has arrived.
 */
static bool has_bare_cr(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\r' && (i + 1 == size || data[i + 1] != '\n'))
			return true;
	}
	return false;
}

static void requests_fuzz(__u16 port, const uint8_t *data, size_t size)
{
	struct answer whole, pieces;

	converse(port, data, size, size, &whole);
	converse(port, data, size, size ? data[size / 2] % size : 0, &pieces);
	answer_check(&whole);
	answer_check(&pieces);
	answer_normalize(&whole);
	answer_normalize(&pieces);
	if (!whole.is_reset && !pieces.is_reset && !has_bare_cr(data, size) &&
	    (whole.size != pieces.size ||
	     (whole.size && memcmp(whole.text, pieces.text, whole.size))))
		abort();
	free(whole.text);
	free(pieces.text);
	next_client_check(port);
}

void probes_fuzz(const uint8_t *data, size_t size)
{
	requests_fuzz(PROBES_PORT, data, size);
}

void health_checks_fuzz(const uint8_t *data, size_t size)
{
	requests_fuzz(HEALTH_CHECK_PORT, data, size);
}
