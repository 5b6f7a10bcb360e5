/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The smallest server and client there are: a byte for a byte, over TCP.
 *
 *   requests serve CPU ADDRESS PORT		says "ready", and serves until it is ended
 *   requests ask CPU ADDRESS PORT keep|each SECONDS
 *	Asks as often as it can, over one connection or a new one each time, and prints JSON.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EVENTS       64
#define NSEC_PER_SEC 1000000000ULL

static void fail(const char *what)
{
	fprintf(stderr, "requests: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static void take_cpu(const char *number)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((unsigned)atoi(number), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("cannot stay on that CPU");
	/* Whoever else is on this CPU shall not be measured. */
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}))
		fail("cannot go before others");
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, address, &made.sin_addr) != 1) {
		errno = EINVAL;
		fail(address);
	}
	return made;
}

static void set_flag(int fd, int level, int name)
{
	if (setsockopt(fd, level, name, &(int){1}, sizeof(int)))
		fail("setsockopt");
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
}

static void answer(int fd)
{
	char byte;

	if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
		(void)close(fd);
}

static _Noreturn void serve(char **arguments)
{
	struct sockaddr_in address = address_of(arguments[0], arguments[1]);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS];

	if (listener < 0 || epoll < 0)
		fail("socket");
	set_flag(listener, SOL_SOCKET, SO_REUSEADDR);
	set_flag(listener, IPPROTO_TCP, TCP_NODELAY);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, SOMAXCONN))
		fail("cannot listen");
	watch(epoll, listener);
	puts("ready");
	(void)fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd == listener) {
				fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
				if (fd >= 0)
					watch(epoll, fd);
			} else {
				answer(fd);
			}
		}
	}
}

static int dial(const struct sockaddr_in *address)
{
	struct timeval patience = {.tv_sec = 1};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static bool ask_once(int fd)
{
	char byte = 'a';

	return send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
}

static int ask(char **arguments)
{
	struct sockaddr_in address = address_of(arguments[0], arguments[1]);
	bool keep = !strcmp(arguments[2], "keep");
	uint64_t begun = now_ns(), took = 0;
	uint64_t wanted = (uint64_t)(atof(arguments[3]) * (double)NSEC_PER_SEC);
	unsigned long done = 0, failed = 0;
	int fd = -1;

	while (took < wanted) {
		if (fd < 0)
			fd = dial(&address);
		if (fd >= 0 && ask_once(fd)) {
			done++;
		} else {
			failed++;
			keep = false;
		}
		if (!keep && fd >= 0) {
			(void)close(fd);
			fd = -1;
		}
		took = now_ns() - begun;
	}
	printf("{\"requests\": %lu, \"failed\": %lu, \"took_ns\": %llu}\n", done, failed,
	       (unsigned long long)took);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 5 && argc != 7) {
		fprintf(stderr, "requests: see scripts/bench-outside, which calls it\n");
		return 2;
	}
	take_cpu(argv[2]);
	if (argc == 5)
		serve(argv + 3);
	return ask(argv + 3);
}
