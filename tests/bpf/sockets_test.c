/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UDP sockets that no hook helps: stale ones in two network namespaces, and some that were there
 * before their frontend. The test writes the storage that the connect hooks would write, so that it
 * tells who was connected through us.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "link/netlink/namespaces.h"
#include "link/sockets/early_sockets.h"
#include "link/sockets/sockets.h"

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

	assert_int_equal(sockets_abort_udp(map, gone, 3, &count), 0);

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

	assert_int_equal(sockets_abort_udp(map_of_another_agent, &gone, 1, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(sockets_abort_udp(map, &gone, 1, &count), 0);
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

	assert_int_equal(sockets_abort_udp(map, &gone, 1, &count), 0);

	assert_int_equal(count, MANY);
	for (int i = 0; i < MANY; i++)
		(void)close(fds[i]);
	(void)close(map);
}

/* One more of a group whose sockets have their address and port in common, bound and connected. */
static int connected_of_group(const char *backend, __u16 local_port)
{
	struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_port = htons(local_port)};
	struct sockaddr_in6 peer = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	const int on = 1;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (void *)&local, sizeof(local)), 0);
	assert_int_equal(inet_pton(AF_INET6, backend, &peer.sin6_addr), 1);
	assert_int_equal(connect(fd, (void *)&peer, sizeof(peer)), 0);
	return fd;
}

static void all_sockets_of_a_group_are_ended(void **state)
{
	enum { GROUP = 12 };
	static const char *const backends[] = {"fd00::9", "::ffff:192.0.2.9"};
	const struct socket_target gone[] = {
		{.addr = parsed("fd00::9"), .port = htons(PORT)},
		{.addr = parsed("192.0.2.9"), .port = htons(PORT)},
	};
	int map = storage_map_create();
	unsigned int count;
	int fds[2][GROUP];

	(void)state;
	for (int i = 0; i < GROUP; i++) {
		for (int n = 0; n < 2; n++) {
			fds[n][i] = connected_of_group(backends[n], (__u16)(4000 + n));
			given_connected_through_us(map, fds[n][i], backends[n]);
		}
	}

	assert_int_equal(sockets_abort_udp(map, gone, 2, &count), 0);

	assert_int_equal(count, 2 * GROUP);
	for (int i = 0; i < GROUP; i++) {
		for (int n = 0; n < 2; n++) {
			assert_int_equal(error_of(fds[n][i]), ECONNABORTED);
			(void)close(fds[n][i]);
		}
	}
	(void)close(map);
}

/* What the agent has published, as far as it matters here. */
struct published {
	int frontends, addresses;
};

static struct published published_create(void)
{
	const struct published made = {
		.frontends = bpf_map_create(BPF_MAP_TYPE_HASH, "frontends", sizeof(struct frontend),
					    sizeof(struct frontend_target), 16, NULL),
		.addresses = bpf_map_create(BPF_MAP_TYPE_HASH, "addresses", sizeof(struct ip_addr),
					    sizeof(struct address_info), 16, NULL),
	};

	assert_true(made.frontends >= 0 && made.addresses >= 0);
	return made;
}

static void given_frontend(const struct published *maps, const char *address, __u16 port,
			   __u32 address_flags)
{
	const struct frontend frontend = {
		.vip = parsed(address), .port = htons(port), .proto = IPPROTO_UDP};
	const struct frontend_target target = {.service = 1, .kind = FRONTEND_NODE_PORT};
	const struct address_info info = {.flags = address_flags};

	assert_int_equal(bpf_map_update_elem(maps->frontends, &frontend, &target, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(maps->addresses, &frontend.vip, &info, BPF_ANY), 0);
}

static __u16 local_port_of(int fd)
{
	struct sockaddr_in6 local = {};
	socklen_t size = sizeof(local);

	assert_int_equal(getsockname(fd, (void *)&local, &size), 0);
	return ntohs(local.sin6_port); /* where IPv4 has it too */
}

static void then_connected(int fd, bool is_connected)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	assert_int_equal(getpeername(fd, (void *)&peer, &size), is_connected ? 0 : -1);
}

/* The source port tells that a socket with a loopback source was connected anew. */
static void sockets_of_before_a_frontend_are_connected_again(void **state)
{
	const struct published maps = published_create();
	const struct {
		int family;
		const char *peer;
		bool is_reconnected;
	} cases[] = {
		{AF_INET, "127.0.0.1", true},
		{AF_INET, "127.1.2.3", true}, /* every loopback address is one */
		{AF_INET6, "::ffff:127.0.0.1", true},
		{AF_INET6, "::1", true},
		{AF_INET, "192.0.2.1", true},  /* an address of the node */
		{AF_INET, "192.0.2.2", false}, /* TC meets what is sent there */
		{AF_INET, "192.0.2.3", false}, /* no frontend */
	};
	enum { CASES = sizeof(cases) / sizeof(cases[0]) };
	struct early_sockets_options options = {
		.frontends_map = maps.frontends, .addresses_map = maps.addresses, .with_tc = true};
	__u16 ports[CASES];
	unsigned int count;
	int fds[CASES];

	(void)state;
	given_frontend(&maps, "127.0.0.1", PORT, 0);
	given_frontend(&maps, "::1", PORT, 0);
	given_frontend(&maps, "192.0.2.1", PORT, ADDRESS_NODE);
	given_frontend(&maps, "192.0.2.2", PORT, ADDRESS_CLUSTER_IP);
	for (int i = 0; i < CASES; i++) {
		fds[i] = connected(here, cases[i].family, cases[i].peer);
		ports[i] = local_port_of(fds[i]);
	}

	assert_int_equal(early_sockets_reconnect(&options, &count), 0);

	assert_int_equal(count, 5);
	for (int i = 0; i < CASES; i++) {
		then_connected(fds[i], true);
		if (i < 4)
			assert_int_not_equal(local_port_of(fds[i]), ports[i]);
		else
			assert_int_equal(local_port_of(fds[i]), ports[i]);
	}
	/* Without TC hooks, a ClusterIP is missed as well. */
	options.with_tc = false;
	assert_int_equal(early_sockets_reconnect(&options, &count), 0);
	assert_int_equal(count, 6);
	for (int i = 0; i < CASES; i++)
		(void)close(fds[i]);
	(void)close(maps.frontends);
	(void)close(maps.addresses);
}

static void sockets_that_talk_to_a_process_are_not_connected_again(void **state)
{
	const struct published maps = published_create();
	const struct early_sockets_options options = {
		.frontends_map = maps.frontends, .addresses_map = maps.addresses, .with_tc = true};
	const char *const holders[] = {"::", "::1", "::ffff:127.0.0.1"};
	const bool has_ipv4[] = {true, false, true}, has_ipv6[] = {true, true, false};
	int ipv4 = connected(here, AF_INET, "127.0.0.1"), ipv6 = connected(here, AF_INET6, "::1");
	unsigned int count;

	(void)state;
	given_frontend(&maps, "127.0.0.1", PORT, 0);
	given_frontend(&maps, "::1", PORT, 0);
	for (size_t i = 0; i < sizeof(holders) / sizeof(holders[0]); i++) {
		struct sockaddr_in6 place = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
		int holder = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		assert_int_equal(inet_pton(AF_INET6, holders[i], &place.sin6_addr), 1);
		assert_int_equal(bind(holder, (void *)&place, sizeof(place)), 0);

		assert_int_equal(early_sockets_reconnect(&options, &count), 0);

		assert_int_equal(count, !has_ipv4[i] + !has_ipv6[i]);
		(void)close(holder);
	}
	(void)close(ipv4);
	(void)close(ipv6);
	(void)close(maps.frontends);
	(void)close(maps.addresses);
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

/* 0: it cannot be asked. By a thread that is not the test's nothing may be asserted. */
static ino_t namespace_of(const char *path)
{
	struct stat status;

	return stat(path, &status) ? 0 : status.st_ino;
}

struct visits {
	ino_t own;
	unsigned int others; /* namespaces where the thread was */
	unsigned int wrong;  /* where it should not be, or the process was seen to be */
};

static int visit_count(ino_t inode, bool *ret_keep, void *context)
{
	struct visits *visits = context;

	visits->others += inode != visits->own;
	visits->wrong += namespace_of("/proc/thread-self/ns/net") != inode;
	visits->wrong += namespace_of("/proc/self/ns/net") != visits->own;
	*ret_keep = true;
	return 0;
}

static int revisit_count(ino_t inode, void *context)
{
	bool keep;

	return visit_count(inode, &keep, context);
}

/* `ip netns pids` looks at /proc/PID/ns/net, and scripts kill what it prints of a pod's. */
static void a_process_that_looks_into_namespaces_is_seen_in_its_own(void **state)
{
	auto_cleanup(namespaces_fini) struct namespaces namespaces = {};
	struct visits visits = {.own = namespace_of("/proc/self/ns/net")};
	const struct namespace_visitor visitor = {
		.look = visit_count, .purpose = "count", .context = &visits};

	(void)state;
	assert_int_equal(namespaces_visit(&namespaces, &visitor), 0);
	assert_true(visits.others > 0);
	assert_int_equal(namespaces_revisit(&namespaces, revisit_count, &visits), 0);
	assert_int_equal(visits.wrong, 0);
	assert_true(namespace_of("/proc/thread-self/ns/net") == visits.own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_sockets_that_we_connected_to_the_backend_are_ended),
		cmocka_unit_test(one_target_alone_is_found_as_well_and_only_by_the_right_map),
		cmocka_unit_test(many_sockets_in_one_namespace_are_all_ended),
		cmocka_unit_test(all_sockets_of_a_group_are_ended),
		cmocka_unit_test(sockets_of_before_a_frontend_are_connected_again),
		cmocka_unit_test(sockets_that_talk_to_a_process_are_not_connected_again),
		cmocka_unit_test(a_process_that_looks_into_namespaces_is_seen_in_its_own),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
