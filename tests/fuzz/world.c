/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "bpf/datapath.h"

#define FLOWS_MAX      131072
#define NO_NEIGHBOUR_S 100000 /* no run takes so long */
#define BATCH          1024
#define PODS           (LOCAL_PODS + REMOTE_PODS)

struct links links;
struct xdp_bpf *world_xdp;

static enum forwarding wanted;
/* Where frames of packets.c go. */
static const __u8 link_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 2};

struct peer world_peer(enum ip_family family, enum net net, __u8 host, __u16 port)
{
	struct peer made = {.port = port};

	if (family == FAMILY_IPV4) {
		const __u8 bytes[16] = {[10] = 0xff, 0xff, 8, 0, (__u8)net, host};

		memcpy(made.addr.bytes, bytes, sizeof(bytes));
	} else {
		const __u8 bytes[16] = {0x20, 0x01, 0x0d,      0xb8,       0x86,
					0xdd, 0,    (__u8)net, [15] = host};

		memcpy(made.addr.bytes, bytes, sizeof(bytes));
	}
	return made;
}

struct peer world_pod(enum ip_family family, unsigned number)
{
	return number <= LOCAL_PODS ? world_peer(family, NET_PODS, (__u8)number, BACKEND_PORT)
				    : world_peer(family, NET_REMOTE_PODS,
						 (__u8)(number - LOCAL_PODS), BACKEND_PORT);
}

/* The net and the host of one of our addresses; false: it is none. */
static bool address_split(const struct ip_addr *addr, __u8 *ret_net, __u8 *ret_host)
{
	struct peer same;

	*ret_host = addr->bytes[15];
	*ret_net = address_is_ipv4(addr) ? addr->bytes[14] : addr->bytes[7];
	same = world_peer(address_is_ipv4(addr) ? FAMILY_IPV4 : FAMILY_IPV6, (enum net) * ret_net,
			  *ret_host, 0);
	return !memcmp(&same.addr, addr, sizeof(*addr));
}

bool pod_is_local(const struct ip_addr *addr)
{
	__u8 net, host;

	return address_split(addr, &net, &host) && net == NET_PODS;
}

bool world_has_backend(const struct ip_addr *addr)
{
	__u8 net, host;

	if (!address_split(addr, &net, &host) || !host)
		return false;
	return net == NET_PODS ? host <= LOCAL_PODS : net == NET_REMOTE_PODS && host <= REMOTE_PODS;
}

static bool is_in_service_range(const struct ip_addr *addr)
{
	struct peer range =
		world_peer(address_is_ipv4(addr) ? FAMILY_IPV4 : FAMILY_IPV6, NET_VIPS, 0, 0);

	return !memcmp(addr, &range.addr, address_is_ipv4(addr) ? 15 : 8);
}

bool world_knows(const struct ip_addr *addr)
{
	__u8 net, host;

	if (is_in_service_range(addr) || world_has_backend(addr))
		return true;
	if (!address_split(addr, &net, &host))
		return false;
	return ((net == NET_UPLINK || net == NET_OVERLAY) && host == NODE_HERE) ||
	       (net == NET_EXTERNAL && (host == 1 || host == 2));
}

bool world_has_node(const struct ip_addr *addr)
{
	__u8 net, host;

	return address_split(addr, &net, &host) && net == NET_UPLINK &&
	       (host == NODE_HERE || host == NODE_OTHER);
}

bool world_has_client(const struct ip_addr *addr)
{
	return address_is_ipv4(addr) ? addr->bytes[12] == 8
				     : addr->bytes[4] == 0x86 && addr->bytes[5] == 0xdd;
}

static int commands_run(void)
{
	static const char *const commands[] = {
		"ip link add fl-up type veth peer name fl-far",
		"ip link add fl-over type veth peer name fl-in",
		"ip link add fl-pod type veth peer name fl-eth0",
		"sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
		"for l in up far over in pod eth0; do ip link set fl-$l up; done",
		/* Where frames of packets.c go. */
		"for l in up over pod; do ip link set fl-$l address 02:00:00:00:00:02; done",
		"ip link set fl-over mtu 1400",
		"ip addr add 8.0.3.1/24 dev fl-up",
		"ip addr add 2001:db8:86dd:3::1/64 dev fl-up nodad",
		"ip addr add 8.0.4.1/24 dev fl-over",
		"ip addr add 2001:db8:86dd:4::1/64 dev fl-over nodad",
		"ip route add default via 8.0.3.254",
		"ip -6 route add default via 2001:db8:86dd:3::fe",
		"ip route add 8.0.9.0/24 via 8.0.4.2",
		"ip -6 route add 2001:db8:86dd:9::/64 via 2001:db8:86dd:4::2",
		"for n in 0 1; do ip route add 8.0.$n.0/24 dev fl-pod; done",
		"for n in 0 1; do ip -6 route add 2001:db8:86dd:$n::/64 dev fl-pod; done",
		"ip neigh add 8.0.3.254 lladdr 02:00:00:00:00:fe dev fl-up",
		"ip neigh add 2001:db8:86dd:3::fe lladdr 02:00:00:00:00:fe dev fl-up",
		"ip neigh add 8.0.4.2 lladdr 02:00:00:00:00:20 dev fl-over",
		"ip neigh add 2001:db8:86dd:4::2 lladdr 02:00:00:00:00:20 dev fl-over",
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (system(commands[i])) {
			(void)fprintf(stderr, "packet_fuzz: failed: %s\n", commands[i]);
			return -1;
		}
	}
	links.up = if_nametoindex("fl-up");
	links.over = if_nametoindex("fl-over");
	links.pod = if_nametoindex("fl-pod");
	return links.up && links.over && links.pod ? 0 : -1;
}

static void configure(struct tc_bpf *skeleton)
{
	struct config *config = &skeleton->rodata->config;

	datapath_with_l3(skeleton);
	config->forwarding = (__u8)wanted;
	config->rejects_per_second = UINT32_MAX;
	config->flow_checks_max = FLOWS_MAX;
	(void)bpf_map__set_max_entries(skeleton->maps.flow_checks, 2 * FLOWS_MAX);
	(void)bpf_map__set_max_entries(skeleton->maps.flows, 2 * FLOWS_MAX);
	(void)bpf_map__set_max_entries(skeleton->maps.new_flows, 2 * FLOWS_MAX);
	(void)bpf_map__set_max_entries(skeleton->maps.affinity, FLOWS_MAX);
	(void)bpf_map__set_max_entries(skeleton->maps.fragments, FLOWS_MAX);
}

static int xdp_open(void)
{
	struct bpf_map *map, *shared;
	const __u32 uplinks[] = {links.up, links.over};

	world_xdp = xdp_bpf__open();
	if (!world_xdp)
		return -1;
	world_xdp->rodata->config = programs->rodata->config;
	bpf_object__for_each_map (map, world_xdp->obj) {
		shared = bpf_object__find_map_by_name(programs->obj, bpf_map__name(map));
		if (!bpf_map__is_internal(map) && shared &&
		    bpf_map__reuse_fd(map, bpf_map__fd(shared)))
			return -1;
	}
	if (xdp_bpf__load(world_xdp))
		return -1;
	/* Frames may leave by a link, and come by one only while a program is attached to it. */
	for (size_t i = 0; i < sizeof(uplinks) / sizeof(uplinks[0]); i++) {
		struct xdp_link link = {.ifindex = uplinks[i]};
		__u32 ifindex = uplinks[i], place = ifindex % XDP_LINKS_MAX;

		memcpy(link.mac, link_mac, sizeof(link_mac));
		memcpy(link.bridge_mac, link_mac, sizeof(link_mac));
		if (bpf_map__update_elem(world_xdp->maps.xdp_links, &place, sizeof(place), &link,
					 sizeof(link), BPF_ANY) ||
		    bpf_map__update_elem(world_xdp->maps.redirect_targets, &ifindex,
					 sizeof(ifindex), &ifindex, sizeof(ifindex), BPF_ANY) ||
		    bpf_xdp_attach((int)ifindex, bpf_program__fd(world_xdp->progs.fl_xdp),
				   XDP_FLAGS_DRV_MODE, NULL))
			return -1;
	}
	return 0;
}

/* Neighbours count as used until long after this, so no frame goes by TC for their sake. */
static int neighbours_keep(void)
{
	__u32 places = bpf_map__max_entries(world_xdp->maps.neighbours_used);
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	__u64 *used_s = calloc(cpus, sizeof(*used_s));
	struct timespec now;
	int err = 0;

	if (!used_s)
		return -1;
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	for (size_t i = 0; i < cpus; i++)
		used_s[i] = (__u32)now.tv_sec + NO_NEIGHBOUR_S;
	for (__u32 place = 0; place < places && !err; place++)
		err = bpf_map_update_elem(bpf_map__fd(world_xdp->maps.neighbours_used), &place,
					  used_s, BPF_ANY);
	free(used_s);
	return err;
}

static void fill_services(enum ip_family family, __u8 proto)
{
	__u32 pods[PODS], service;

	for (unsigned i = 0; i < PODS; i++) {
		struct peer pod = world_pod(family, i + 1);

		pods[i] = given_backend(pod, proto);
		given_backend_flags(pods[i], i < LOCAL_PODS ? BACKEND_LOCAL : BACKEND_ON_NODE);
	}
	service = given_service(world_peer(family, NET_VIPS, VIP_MIXED, FRONTEND_PORT), proto, PODS,
				pods);
	given_frontend(world_peer(family, NET_UPLINK, NODE_HERE, NODE_PORT), proto,
		       FRONTEND_NODE_PORT, service);
	given_frontend(world_peer(family, NET_EXTERNAL, 1, FRONTEND_PORT), proto,
		       FRONTEND_EXTERNAL_IP, service);
	given_frontend(world_peer(family, NET_EXTERNAL, 2, FRONTEND_PORT), proto,
		       FRONTEND_LOAD_BALANCER_IP, service);
	(void)given_service(world_peer(family, NET_VIPS, VIP_REMOTE, FRONTEND_PORT), proto,
			    REMOTE_PODS, pods + LOCAL_PODS);
	service = given_service(world_peer(family, NET_VIPS, VIP_STICKY, FRONTEND_PORT), proto,
				PODS, pods);
	given_affinity(service, 60);
	service = given_service(world_peer(family, NET_VIPS, VIP_REFUSED, FRONTEND_PORT), proto, 0,
				NULL);
	given_no_slots(service, EMPTY_REJECT);
	service = given_service(world_peer(family, NET_VIPS, VIP_DROPPED, FRONTEND_PORT), proto, 0,
				NULL);
	given_no_slots(service, EMPTY_DROP);
}

static int fill_ranges(void)
{
	struct service_ranges ranges = {.count = 2};
	__u32 zero = 0;

	ranges.ranges[0].addr = world_peer(FAMILY_IPV4, NET_VIPS, 0, 0).addr;
	memset(ranges.ranges[0].mask.bytes, 0xff, 15);
	ranges.ranges[1].addr = world_peer(FAMILY_IPV6, NET_VIPS, 0, 0).addr;
	memset(ranges.ranges[1].mask.bytes, 0xff, 8);
	return bpf_map_update_elem(bpf_map__fd(programs->maps.service_ranges), &zero, &ranges,
				   BPF_ANY);
}

static int fill_nodes(void)
{
	static const enum ip_family families[] = {FAMILY_IPV4, FAMILY_IPV6};
	struct link_source own = {
		.ipv4 = world_peer(FAMILY_IPV4, NET_UPLINK, NODE_HERE, 0).addr,
		.ipv6 = world_peer(FAMILY_IPV6, NET_UPLINK, NODE_HERE, 0).addr,
	};
	__u32 zero = 0, here = CLUSTER_NODE_THIS, other = CLUSTER_NODE_OTHER;
	int nodes = bpf_map__fd(programs->maps.cluster_nodes);

	for (size_t i = 0; i < 2; i++) {
		struct peer node = world_peer(families[i], NET_UPLINK, NODE_HERE, 0);
		struct peer there = world_peer(families[i], NET_UPLINK, NODE_OTHER, 0);

		given_link_source(links.up, node.addr);
		given_link_source(links.over,
				  world_peer(families[i], NET_OVERLAY, NODE_HERE, 0).addr);
		if (bpf_map_update_elem(nodes, &node.addr, &here, BPF_ANY) ||
		    bpf_map_update_elem(nodes, &there.addr, &other, BPF_ANY))
			return -1;
	}
	return bpf_map_update_elem(bpf_map__fd(programs->maps.node_address), &zero, &own, BPF_ANY);
}

int world_open(enum forwarding forwarding)
{
	static const __u8 protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	void *state = &variants[0];

	wanted = forwarding;
	(void)setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	if (datapath_load(configure) || commands_run() || xdp_open() || neighbours_keep())
		return -1;
	(void)datapath_setup(&state);
	given_link(links.pod, true);
	given_link(links.up, false);
	given_link(links.over, false);
	for (size_t i = 0; i < sizeof(protos); i++) {
		fill_services(FAMILY_IPV4, protos[i]);
		fill_services(FAMILY_IPV6, protos[i]);
	}
	return fill_ranges() || fill_nodes() ? -1 : 0;
}

static void map_empty(const struct bpf_map *map)
{
	static __u8 keys[BATCH * sizeof(struct flow_key)], values[BATCH * 256];
	__u8 place[64];
	void *from = NULL;
	__u32 count;
	int err;

	do {
		count = BATCH;
		err = bpf_map_lookup_and_delete_batch(bpf_map__fd(map), from, place, keys, values,
						      &count, NULL);
		from = place;
	} while (!err);
}

void world_forget_searches(void)
{
	map_empty(programs->maps.neighbour_searches);
}

void world_forget(void)
{
	__u8 check[64];
	int checks = bpf_map__fd(programs->maps.flow_checks);
	__u32 count = bpf_map__max_entries(programs->maps.address_flows);
	struct address_flows idle = {};

	map_empty(programs->maps.flows);
	map_empty(programs->maps.new_flows);
	map_empty(programs->maps.fragments);
	map_empty(programs->maps.affinity);
	while (!bpf_map_lookup_and_delete_elem(checks, NULL, check))
		continue;
	for (__u32 i = 0; i < count; i++)
		(void)bpf_map_update_elem(bpf_map__fd(programs->maps.address_flows), &i, &idle,
					  BPF_ANY);
	(void)timer_set(true);
}
