/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/outside.h"

#include <net/if.h>
#include <stdlib.h>

#define PODS_MAX 8

unsigned uplink, overlay;

int outside_load(void (*configure)(struct tc_bpf *skeleton))
{
	static const char *const commands[] = {
		"ip link add fl-up address 02:00:00:00:00:02 type veth peer name fl-far",
		"ip link add fl-over address 02:00:00:00:00:02 type veth peer name fl-in",
		"sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
		"for l in fl-over fl-in; do ip link set $l mtu 1400; done",
		"for l in fl-up fl-far fl-over fl-in; do ip link set $l up; done",
		"ip addr add 192.168.0.1/24 dev fl-up",
		"ip addr add fdee::1/64 dev fl-up nodad",
		"ip addr add 172.20.0.1/24 dev fl-over",
		"ip addr add fd20::1/64 dev fl-over nodad",
		"ip route add default via 192.168.0.254",
		"ip -6 route add default via fdee::fe",
		"ip route add 10.1.0.0/24 via 172.20.0.2",
		"ip -6 route add fd01::/64 via fd20::2",
		"ip route add unreachable 10.1.0.9/32",
		"ip -6 route add unreachable fd01::9/128",
		/*
		 * The kernel asks for those who are not known yet, but here nothing is sent. Known
		 * ones say the route's MTU.
		 */
		"ip neigh add 192.168.0.254 lladdr 02:00:00:00:00:fe dev fl-up",
		"ip neigh add fdee::fe lladdr 02:00:00:00:00:fe dev fl-up",
		"ip neigh add 172.20.0.2 lladdr 02:00:00:00:00:20 dev fl-over",
		"ip neigh add fd20::2 lladdr 02:00:00:00:00:20 dev fl-over",
	};

	if (datapath_load(configure))
		return -1;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (system(commands[i])) {
			print_error("failed: %s\n", commands[i]);
			return -1;
		}
	}
	uplink = if_nametoindex("fl-up");
	overlay = if_nametoindex("fl-over");
	return uplink && overlay ? 0 : -1;
}

int outside_load_default(void **state)
{
	(void)state;
	return outside_load(NULL);
}

struct peer inner(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "172.20.0.1" : "fd20::1", port);
}

struct peer external(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "203.0.113.1" : "2001:db8::1", port);
}

struct peer dialled(enum frontend_kind kind)
{
	switch (kind) {
	case FRONTEND_NODE_PORT:
		return node(NODE_PORT);
	case FRONTEND_EXTERNAL_IP:
		return external(80);
	case FRONTEND_LOAD_BALANCER_IP:
		return another_vip(80);
	default:
		return vip(80);
	}
}

__u32 given_outside(unsigned count)
{
	__u32 backends[PODS_MAX], service;

	assert_between(count, 0, PODS_MAX);
	for (unsigned i = 0; i < count; i++)
		backends[i] = given_backend(pod(i + 1), variant.proto);
	service = given_service(vip(80), variant.proto, count, backends);
	for (enum frontend_kind kind = FRONTEND_NODE_PORT; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++)
		given_frontend(dialled(kind), variant.proto, kind, service);
	given_link(uplink, false);
	given_link(overlay, false);
	given_link_source(uplink, node(0).addr);
	given_link_source(overlay, inner(0).addr);
	return service;
}

void when_asked(struct frame frame)
{
	when_run(programs->progs.fl_ingress, frame, uplink, uplink);
}

void when_answered(struct frame frame)
{
	when_run(programs->progs.fl_ingress, frame, overlay, overlay);
}

struct frame passed(struct packet_spec spec)
{
	spec.ttl = TTL_DEFAULT - 1;
	return built(spec);
}
