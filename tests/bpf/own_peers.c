/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/own_peers.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <sys/socket.h>

void when_own_leaves(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, uplink, 0);
}

void when_masqueraded_leaves(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, uplink, LINK_IFINDEX);
}

static socklen_t sockaddr_of(const struct peer *peer, struct sockaddr_storage *ret)
{
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (variant.family == FAMILY_IPV4) {
		ipv4->sin_family = AF_INET;
		ipv4->sin_port = htons(peer->port);
		memcpy(&ipv4->sin_addr, peer->addr.bytes + 12, sizeof(ipv4->sin_addr));
		return sizeof(*ipv4);
	}
	ipv6->sin6_family = AF_INET6;
	ipv6->sin6_port = htons(peer->port);
	memcpy(&ipv6->sin6_addr, peer->addr.bytes, sizeof(ipv6->sin6_addr));
	return sizeof(*ipv6);
}

int given_own_socket(__u16 port, const struct peer *connected)
{
	const struct peer own = node(port);
	struct sockaddr_storage address;
	socklen_t size = sockaddr_of(&own, &address);
	int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	if (connected) {
		size = sockaddr_of(connected, &address);
		assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
	}
	return fd;
}

void given_address_left(struct ip_addr addr)
{
	int map = bpf_map__fd(programs->maps.addresses);
	struct address_info info;

	assert_int_equal(bpf_map_lookup_elem(map, &addr, &info), 0);
	info.flags &= ~(__u32)ADDRESS_NODE;
	assert_int_equal(bpf_map_update_elem(map, &addr, &info, BPF_EXIST), 0);
}
