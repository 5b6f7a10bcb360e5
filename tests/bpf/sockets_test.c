/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stale UDP sockets in two network namespaces. The test writes the storage that the connect hooks
 * would write, so that it tells who was connected through us.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "address.h"
#include "link/sockets.h"

#define PORT 5353

static int here = -1, elsewhere = -1;
static pid_t inhabitant; /* without a process in it or a name, nobody finds a namespace */

/* A storage map must describe its key and value: a 32-bit integer, and as many as make the value.
 */
static int storage_map_create(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	struct btf *btf = btf__new_empty();
	int integer = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	int value = btf__add_array(btf, integer, integer, sizeof(struct socket_state) / 4);
	int map;

	assert_int_equal(btf__load_into_kernel(btf), 0);
	options.btf_fd = (__u32)btf__fd(btf);
	options.btf_key_type_id = (__u32)integer;
	options.btf_value_type_id = (__u32)value;
	map = bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "socket_state", sizeof(int),
			     sizeof(struct socket_state), 0, &options);
	assert_true(map >= 0);
	btf__free(btf);
	return map;
}

static struct ip_addr parsed(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

/* A UDP socket of a family, in a namespace, connected to the backend. */
static int connected(int namespace, int family, const char *backend)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd;

	assert_int_equal(setns(namespace, CLONE_NEWNET), 0);
	fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (family == AF_INET) {
		assert_int_equal(inet_pton(AF_INET, backend, &four.sin_addr), 1);
		assert_int_equal(connect(fd, (void *)&four, sizeof(four)), 0);
	} else {
		assert_int_equal(inet_pton(AF_INET6, backend, &six.sin6_addr), 1);
		assert_int_equal(connect(fd, (void *)&six, sizeof(six)), 0);
	}
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	return fd;
}

static void given_connected_through_us(int map, int fd, const char *backend)
{
	struct socket_state state = {
		.frontend_addr = parsed("10.96.0.10"),
		.frontend_port = htons(53),
		.backend_addr = parsed(backend),
		.backend_port = htons(PORT),
	};

	assert_int_equal(bpf_map_update_elem(map, &fd, &state, BPF_ANY), 0);
}

/* The error that the application finds at its socket; 0: none. */
static int error_of(int fd)
{
	socklen_t size = sizeof(int);
	int err;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size), 0);
	return err;
}

static void only_sockets_that_we_connected_to_the_backend_are_ended(void **state)
{
	const struct socket_target gone[] = {
		{.addr = parsed("192.0.2.9"), .port = htons(PORT)},
		{.addr = parsed("fd00::9"), .port = htons(PORT)},
		{.addr = parsed("192.0.2.77"), .port = htons(PORT)},
	};
	const struct {
		int family;
		const char *backend;
		bool is_ours, is_ended;
	} cases[] = {
		{AF_INET, "192.0.2.9", true, true},
		{AF_INET6, "::ffff:192.0.2.9", true, true},
		{AF_INET6, "fd00::9", true, true},
		{AF_INET, "192.0.2.9", false, false}, /* it dialled the pod itself */
		{AF_INET, "192.0.2.8", true, false},  /* another backend */
		{AF_INET6, "fd00::8", true, false},
	};
	enum { CASES = sizeof(cases) / sizeof(cases[0]) };
	const int namespaces[] = {here, elsewhere};
	int map = storage_map_create();
	int fds[2][CASES];
	unsigned int count;

	(void)state;
	for (int n = 0; n < 2; n++) {
		for (int i = 0; i < CASES; i++) {
			fds[n][i] = connected(namespaces[n], cases[i].family, cases[i].backend);
			if (cases[i].is_ours)
				given_connected_through_us(map, fds[n][i], cases[i].backend);
		}
	}

	assert_int_equal(sockets_destroy_udp(map, gone, 3, &count), 0);

	assert_int_equal(count, 6);
	for (int n = 0; n < 2; n++) {
		for (int i = 0; i < CASES; i++) {
			assert_int_equal(error_of(fds[n][i]), cases[i].is_ended ? ECONNABORTED : 0);
			(void)close(fds[n][i]);
		}
	}
	(void)close(map);
}

static void one_target_alone_is_found_as_well_and_only_by_the_right_map(void **state)
{
	const struct socket_target gone = {.addr = parsed("192.0.2.9"), .port = htons(PORT)};
	int map = storage_map_create(), map_of_another_agent = storage_map_create();
	int fd = connected(elsewhere, AF_INET, "192.0.2.9");
	unsigned int count;

	(void)state;
	given_connected_through_us(map, fd, "192.0.2.9");

	assert_int_equal(sockets_destroy_udp(map_of_another_agent, &gone, 1, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(sockets_destroy_udp(map, &gone, 1, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(error_of(fd), ECONNABORTED);
	(void)close(fd);
	(void)close(map);
	(void)close(map_of_another_agent);
}

static void many_sockets_in_one_namespace_are_all_ended(void **state)
{
	enum { MANY = 500 };
	const struct socket_target gone = {.addr = parsed("fd00::9"), .port = htons(PORT)};
	int map = storage_map_create();
	unsigned int count;
	int fds[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		fds[i] = connected(here, AF_INET6, "fd00::9");
		given_connected_through_us(map, fds[i], "fd00::9");
	}

	assert_int_equal(sockets_destroy_udp(map, &gone, 1, &count), 0);

	assert_int_equal(count, MANY);
	for (int i = 0; i < MANY; i++)
		(void)close(fds[i]);
	(void)close(map);
}

/* A fresh namespace with a route to everywhere; the process is in it. */
static int namespace_new(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(system("ip link set lo up && ip route add default dev lo && "
				"ip -6 route add default dev lo"),
			 0);
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int group_setup(void **state)
{
	(void)state;
	elsewhere = namespace_new();
	inhabitant = fork();
	assert_true(inhabitant >= 0);
	if (!inhabitant) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)pause();
		_exit(0);
	}
	here = namespace_new();
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	(void)kill(inhabitant, SIGKILL);
	(void)waitpid(inhabitant, NULL, 0);
	(void)close(here);
	(void)close(elsewhere);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_sockets_that_we_connected_to_the_backend_are_ended),
		cmocka_unit_test(one_target_alone_is_found_as_well_and_only_by_the_right_map),
		cmocka_unit_test(many_sockets_in_one_namespace_are_all_ended),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
