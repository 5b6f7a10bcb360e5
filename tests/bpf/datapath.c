/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <arpa/inet.h>
#include <unistd.h>

#include "base/address.h"
#include "base/map.h"

#define PODS_MAX 250
#define SMALL    1024 /* entries of most maps: emptied for each test */

#define BRIDGE_IFINDEX 1000

struct variant variant;
struct tc_bpf *programs;
const __u8 own_mac[6] = {2, 0, 0, 0, 0, 2};

struct variant variants[4] = {
	{FAMILY_IPV4, IPPROTO_TCP},
	{FAMILY_IPV4, IPPROTO_UDP},
	{FAMILY_IPV6, IPPROTO_TCP},
	{FAMILY_IPV6, IPPROTO_UDP},
};

static struct {
	int verdict;
	struct frame frame, before;
	__u32 backends, services, slots, indexes;
} world;

static int fd_of(const struct bpf_map *map)
{
	return bpf_map__fd(map);
}

/* Loading. */

static void make_small(struct tc_bpf *skeleton)
{
	struct bpf_map *maps[] = {
		skeleton->maps.frontends,     skeleton->maps.addresses,
		skeleton->maps.address_flows, skeleton->maps.services,
		skeleton->maps.slots,         skeleton->maps.backends,
		skeleton->maps.affinity,      skeleton->maps.flows,
		skeleton->maps.new_flows,     skeleton->maps.fragments,
		skeleton->maps.service_stats, skeleton->maps.own_replies,
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		assert_int_equal(bpf_map__set_max_entries(maps[i], SMALL), 0);
}

void datapath_with_l3(struct tc_bpf *skeleton)
{
	assert_int_equal(bpf_program__set_autoload(skeleton->progs.fl_ingress_l3, true), 0);
	assert_int_equal(bpf_program__set_autoload(skeleton->progs.fl_egress_l3, true), 0);
}

/* The verifier takes as long for the programs without a link-layer header as for the others. */
static void leave_l3_out(struct tc_bpf *skeleton)
{
	assert_int_equal(bpf_program__set_autoload(skeleton->progs.fl_ingress_l3, false), 0);
	assert_int_equal(bpf_program__set_autoload(skeleton->progs.fl_egress_l3, false), 0);
}

int timer_set(bool has_timer)
{
	struct flow_sweeper sweeper = {.has_timer = has_timer};
	__u32 zero = 0;

	return bpf_map_update_elem(fd_of(programs->maps.flow_sweeper), &zero, &sweeper, BPF_ANY);
}

int datapath_load(void (*configure)(struct tc_bpf *skeleton))
{
	if (unshare(CLONE_NEWNET)) {
		print_error("cannot make a network namespace: %s\n", strerror(errno));
		return -1;
	}
	/* Packets are to this address (packets.c), and the stack would take no others. */
	(void)setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	if (system("ip link set lo address 02:00:00:00:00:02"))
		return -1;
	programs = tc_bpf__open();
	if (!programs)
		return -1;
	make_small(programs);
	leave_l3_out(programs);
	if (configure)
		configure(programs);
	return tc_bpf__load(programs) || timer_set(true) ? -1 : 0;
}

int datapath_load_default(void **state)
{
	(void)state;
	return datapath_load(NULL);
}

int datapath_unload(void **state)
{
	(void)state;
	tc_bpf__destroy(programs);
	return 0;
}

static bool no_key(const void *key, const void *context)
{
	(void)key;
	(void)context;
	return false;
}

static void map_clear(const struct bpf_map *map)
{
	assert_int_equal(map_keep_only(fd_of(map), no_key, NULL), 0);
}

static void array_clear(const struct bpf_map *map)
{
	__u32 cpus = (__u32)libbpf_num_possible_cpus(), count = bpf_map__max_entries(map);
	size_t size = ((bpf_map__value_size(map) + 7) & ~7U) * (size_t)cpus;
	void *zero = calloc(1, size);

	assert_non_null(zero);
	for (__u32 i = 0; i < count; i++)
		assert_int_equal(bpf_map_update_elem(fd_of(map), &i, zero, BPF_ANY), 0);
	free(zero);
}

/* Datagrams that went straight to a backend in the test before, if any did. */
static void datagrams_forget(void)
{
	__u32 count = bpf_map__max_entries(programs->maps.address_flows);
	struct address_flows busy;

	for (__u32 i = 0; i < count; i++) {
		assert_int_equal(
			bpf_map_lookup_elem(fd_of(programs->maps.address_flows), &i, &busy), 0);
		if (busy.datagram_s) {
			array_clear(programs->maps.tuple_locks);
			return;
		}
	}
}

int datapath_setup(void **state)
{
	variant = *(struct variant *)*state;
	datagrams_forget();
	map_clear(programs->maps.frontends);
	map_clear(programs->maps.addresses);
	map_clear(programs->maps.affinity);
	map_clear(programs->maps.flows);
	map_clear(programs->maps.new_flows);
	map_clear(programs->maps.flow_renewals);
	map_clear(programs->maps.fragments);
	map_clear(programs->maps.own_replies);
	map_clear(programs->maps.source_ranges);
	map_clear(programs->maps.near_ranges);
	map_clear(programs->maps.link_sources);
	map_clear(programs->maps.exhausted);
	map_clear(programs->maps.cluster_nodes);
	map_clear(programs->maps.neighbour_searches);
	array_clear(programs->maps.neighbour_sought);
	array_clear(programs->maps.far_backends);
	array_clear(programs->maps.node_address);
	map_clear(programs->maps.links);
	array_clear(programs->maps.service_ranges);
	array_clear(programs->maps.node_ports);
	array_clear(programs->maps.address_flows);
	array_clear(programs->maps.services);
	array_clear(programs->maps.counters);
	array_clear(programs->maps.reject_budget);
	array_clear(programs->maps.backends);
	memset(&world, 0, sizeof(world));
	given_link(LINK_IFINDEX, true);
	return 0;
}

/* Who takes part. */

static struct peer party(const char *ipv4, const char *ipv6, __u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? ipv4 : ipv6, port);
}

struct peer client(__u16 port)
{
	return party("10.0.0.1", "fd00::1", port);
}

struct peer another_client(__u16 port)
{
	return party("10.0.0.2", "fd00::2", port);
}

struct peer pod(unsigned number)
{
	struct peer made = party("10.1.0.0", "fd01::", BACKEND_PORT);

	made.addr.bytes[15] = (__u8)number;
	return made;
}

struct peer vip(__u16 port)
{
	return party("10.96.0.1", "fd96::1", port);
}

struct peer another_vip(__u16 port)
{
	return party("10.96.0.2", "fd96::2", port);
}

struct peer node(__u16 port)
{
	return party("192.168.0.1", "fdee::1", port);
}

struct peer router(void)
{
	return party("172.16.0.1", "fdaa::1", 0);
}

/* Filling the maps. */

static void map_set(const struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(fd_of(map), key, value, BPF_ANY), 0);
}

void given_link(__u32 ifindex, bool is_near)
{
	struct link_info link = {
		.name = "link", .role = is_near ? LINK_POD : LINK_UPLINK, .is_near = is_near};

	map_set(programs->maps.links, &ifindex, &link);
}

void given_port(__u32 ifindex, bool is_near, const __u8 mac[6])
{
	struct link_info link = {
		.name = "port",
		.role = is_near ? LINK_POD : LINK_UPLINK,
		.is_near = is_near,
		.bridge = BRIDGE_IFINDEX,
	};

	memcpy(link.mac, mac, sizeof(link.mac));
	map_set(programs->maps.links, &ifindex, &link);
}

void given_address(struct ip_addr addr, __u32 flags)
{
	struct address_info info = {};

	if (bpf_map_lookup_elem(fd_of(programs->maps.addresses), &addr, &info))
		info.index = ++world.indexes;
	info.flags |= flags;
	map_set(programs->maps.addresses, &addr, &info);
}

__u32 given_backend(struct peer peer, __u8 proto)
{
	__u32 id = ++world.backends;
	struct backend backend = {
		.addr = peer.addr,
		.port = htons(peer.port),
		.proto = proto,
		.state = BACKEND_ACTIVE,
		.generation = 1,
	};

	map_set(programs->maps.backends, &id, &backend);
	given_address(peer.addr, ADDRESS_BACKEND);
	return id;
}

void given_backend_state(__u32 backend, enum backend_state state)
{
	struct backend entry;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.backends), &backend, &entry), 0);
	entry.state = state;
	map_set(programs->maps.backends, &backend, &entry);
}

void given_backend_reused(__u32 backend, struct peer peer)
{
	struct backend entry;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.backends), &backend, &entry), 0);
	entry.addr = peer.addr;
	entry.port = htons(peer.port);
	entry.generation++;
	map_set(programs->maps.backends, &backend, &entry);
	given_address(peer.addr, ADDRESS_BACKEND);
}

static struct service service_read(__u32 id)
{
	struct service service;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.services), &id, &service), 0);
	return service;
}

static struct slot_range slots_fill(unsigned count, const __u32 *backends)
{
	struct slot_range range = {.first = world.slots, .count = count};

	for (unsigned i = 0; i < count; i++) {
		struct slot slot = {.backend = backends[i]};

		map_set(programs->maps.slots, &world.slots, &slot);
		world.slots++;
	}
	return range;
}

void given_slots(__u32 service, unsigned count, const __u32 *backends)
{
	struct service entry = service_read(service);

	entry.cluster_slots = slots_fill(count, backends);
	map_set(programs->maps.services, &service, &entry);
}

void given_local_slots(__u32 service, __u32 flags, unsigned count, const __u32 *backends)
{
	struct service entry = service_read(service);

	entry.flags = SERVICE_IN_USE | flags;
	entry.local_slots = slots_fill(count, backends);
	if (!count)
		entry.local_slots = (struct slot_range){.first = EMPTY_DROP, .count = 0};
	map_set(programs->maps.services, &service, &entry);
}

static void given_node_port(__u16 port)
{
	static struct node_ports ports;
	__u32 zero = 0;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.node_ports), &zero, &ports), 0);
	ports.used[port] = 1;
	map_set(programs->maps.node_ports, &zero, &ports);
}

void given_frontend(struct peer frontend, __u8 proto, enum frontend_kind kind, __u32 service)
{
	static const __u32 flags[] = {
		[FRONTEND_CLUSTER_IP] = ADDRESS_CLUSTER_IP,
		[FRONTEND_NODE_PORT] = ADDRESS_NODE | ADDRESS_NODE_PORTS,
		[FRONTEND_EXTERNAL_IP] = ADDRESS_EXTERNAL,
		[FRONTEND_LOAD_BALANCER_IP] = ADDRESS_EXTERNAL,
	};
	struct frontend key = {.vip = frontend.addr, .port = htons(frontend.port), .proto = proto};
	struct frontend_target target = {.service = service, .kind = kind};

	given_address(frontend.addr, flags[kind]);
	if (kind == FRONTEND_NODE_PORT)
		given_node_port(frontend.port);
	map_set(programs->maps.frontends, &key, &target);
}

void given_no_frontend(struct peer frontend, __u8 proto)
{
	struct frontend key = {.vip = frontend.addr, .port = htons(frontend.port), .proto = proto};

	assert_int_equal(bpf_map_delete_elem(fd_of(programs->maps.frontends), &key), 0);
}

void given_backend_flags(__u32 backend, __u32 flags)
{
	struct backend entry;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.backends), &backend, &entry), 0);
	entry.flags = flags;
	map_set(programs->maps.backends, &backend, &entry);
}

void given_link_source(__u32 ifindex, struct ip_addr addr)
{
	struct link_source source = {};

	(void)bpf_map_lookup_elem(fd_of(programs->maps.link_sources), &ifindex, &source);
	if (address_is_ipv4(&addr))
		source.ipv4 = addr;
	else
		source.ipv6 = addr;
	map_set(programs->maps.link_sources, &ifindex, &source);
	given_address(addr, ADDRESS_NODE);
}

void given_no_slots(__u32 service, enum empty_verdict verdict)
{
	struct service entry = service_read(service);

	entry.cluster_slots = (struct slot_range){.first = verdict, .count = 0};
	map_set(programs->maps.services, &service, &entry);
}

void given_affinity(__u32 service, __u32 timeout_s)
{
	struct service entry = service_read(service);

	entry.affinity_timeout_s = timeout_s;
	map_set(programs->maps.services, &service, &entry);
}

__u32 given_service(struct peer frontend, __u8 proto, unsigned count, const __u32 *backends)
{
	struct service service = {.flags = SERVICE_IN_USE};
	__u32 id = ++world.services;

	map_set(programs->maps.services, &id, &service);
	given_slots(id, count, backends);
	given_frontend(frontend, proto, FRONTEND_CLUSTER_IP, id);
	return id;
}

__u32 given_pods(unsigned count)
{
	__u32 backends[PODS_MAX];

	assert_between(count, 0, PODS_MAX);
	for (unsigned i = 0; i < count; i++)
		backends[i] = given_backend(pod(i + 1), variant.proto);
	return given_service(vip(80), variant.proto, count, backends);
}

struct ageing {
	int map;
	size_t value_size, last_use_offset;
	__u32 seconds;
};

/* One that a timer has ended meanwhile does not come back. */
static void age_entry(const void *key, const void *value, void *context)
{
	const struct ageing *ageing = context;
	__u32 last_use_s;
	__u8 aged[256];

	assert_true(ageing->value_size <= sizeof(aged));
	memcpy(aged, value, ageing->value_size);
	memcpy(&last_use_s, aged + ageing->last_use_offset, sizeof(last_use_s));
	last_use_s -= ageing->seconds;
	memcpy(aged + ageing->last_use_offset, &last_use_s, sizeof(last_use_s));
	(void)bpf_map_update_elem(ageing->map, key, aged, BPF_EXIST);
}

/*
 * An entry that is written moves to the front of its bucket. It is not met again there, because
 * buckets are copied whole before their entries are handed on.
 */
static void age_entries(const struct bpf_map *map, size_t last_use_offset, __u32 seconds)
{
	struct ageing ageing = {fd_of(map), bpf_map__value_size(map), last_use_offset, seconds};

	assert_int_equal(map_each(ageing.map, age_entry, &ageing), 0);
}

static void age_datagrams(__u32 seconds)
{
	__u32 count = bpf_map__max_entries(programs->maps.tuple_locks);
	int map = fd_of(programs->maps.tuple_locks);
	struct tuple_lock lock;

	for (__u32 i = 0; i < count; i++) {
		assert_int_equal(bpf_map_lookup_elem(map, &i, &lock), 0);
		if (!lock.datagram_s)
			continue;
		lock.datagram_s -= seconds;
		assert_int_equal(bpf_map_update_elem(map, &i, &lock, BPF_ANY), 0);
	}
}

void given_time_passed(__u32 seconds)
{
	age_entries(programs->maps.flows, offsetof(struct flow, last_use_s), seconds);
	age_entries(programs->maps.new_flows, offsetof(struct flow, last_use_s), seconds);
	age_entries(programs->maps.affinity, offsetof(struct affinity, last_use_s), seconds);
	age_entries(programs->maps.own_replies, 0, seconds);
	age_datagrams(seconds);
}

void given_flows_held(bool are_held)
{
	__u32 count = bpf_map__max_entries(programs->maps.tuple_locks);
	int map = fd_of(programs->maps.tuple_locks);
	struct tuple_lock lock;

	for (__u32 i = 0; i < count; i++) {
		assert_int_equal(bpf_map_lookup_elem(map, &i, &lock), 0);
		lock.is_held = are_held;
		assert_int_equal(bpf_map_update_elem(map, &i, &lock, BPF_ANY), 0);
	}
}

/* Running. */

void when_run_in(int program, struct frame frame, const void *context, __u32 context_size)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .data_size_in = frame.size,
		    .data_out = world.frame.bytes, .data_size_out = sizeof(world.frame.bytes),
		    .ctx_in = context, .ctx_size_in = context_size);
	int err;

	world.before = frame;
	err = bpf_prog_test_run_opts(program, &options);
	if (err)
		fail_msg("a packet of %u bytes does not run: %s", frame.size, strerror(-err));
	world.verdict = (int)options.retval;
	world.frame.size = options.data_size_out;
}

void when_run(const struct bpf_program *program, struct frame frame, __u32 ifindex,
	      __u32 ingress_ifindex)
{
	struct __sk_buff context = {.ifindex = ifindex, .ingress_ifindex = ingress_ifindex};

	when_run_in(bpf_program__fd(program), frame, &context, sizeof(context));
}

void when_ingress(struct frame frame)
{
	when_run(programs->progs.fl_ingress, frame, LINK_IFINDEX, LINK_IFINDEX);
}

void when_egress(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, LINK_IFINDEX, LINK_IFINDEX);
}

void when_node_sends(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, LINK_IFINDEX, 0);
}

/* Looking. */

__u16 source_port_of(const struct frame *frame)
{
	__be16 port;

	memcpy(&port, frame->bytes + frame_transport(frame), sizeof(port));
	return ntohs(port);
}

int verdict(void)
{
	return world.verdict;
}

const struct frame *outcome(void)
{
	return &world.frame;
}

const struct frame *before(void)
{
	return &world.before;
}

__u64 counted(enum counter_reason reason)
{
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	struct counter(*counters)[COUNTER_COUNT] = calloc(cpus, sizeof(*counters));
	const __u32 zero = 0;
	__u64 packets = 0;
	int err;

	assert_non_null(counters);
	err = bpf_map_lookup_elem(fd_of(programs->maps.counters), &zero, counters);
	for (size_t i = 0; i < cpus; i++)
		packets += counters[i][reason].packets;
	free(counters);
	assert_int_equal(err, 0);
	return packets;
}

static void print_counted(void)
{
	static const char *const names[] = {
#define X(reason, field, name, sentence) [reason] = (name),
		FAIRLEAD_COUNTERS(X)
#undef X
	};

	for (unsigned reason = 0; reason < COUNTER_COUNT; reason++) {
		if (counted(reason))
			fprintf(stderr, "# counted: %s %llu\n", names[reason],
				(unsigned long long)counted(reason));
	}
}

static void then_verdict(int wanted, const char *file, int line)
{
	if (world.verdict == wanted)
		return;
	fprintf(stderr, "# the verdict is %d, not %d\n", world.verdict, wanted);
	print_counted();
	_fail(file, line);
}

void then_(int wanted, struct frame frame, const char *file, int line)
{
	then_verdict(wanted, file, line);
	if (!frame_equal(&world.frame, &frame))
		_fail(file, line);
}

void then_goes_on_(const char *file, int line)
{
	then_(TC_ACT_UNSPEC, world.before, file, line);
}

void then_dropped_(enum counter_reason reason, const char *file, int line)
{
	then_verdict(TC_ACT_SHOT, file, line);
	if (counted(reason) == 1)
		return;
	print_counted();
	_fail(file, line);
}

struct flow_key flow_key_of(struct peer src, struct peer dst, enum flow_direction direction)
{
	return (struct flow_key){
		.src = src.addr,
		.dst = dst.addr,
		.src_port = htons(src.port),
		.dst_port = htons(dst.port),
		.proto = variant.proto,
		.direction = direction,
	};
}

enum flow_place flow_place(struct peer src, struct peer dst, enum flow_direction direction,
			   struct flow *ret_flow)
{
	struct flow_key key = flow_key_of(src, dst, direction);
	__u8 confirmed[256];
	struct flow flow;

	if (!bpf_map_lookup_elem(fd_of(programs->maps.flows), &key, confirmed)) {
		if (ret_flow)
			memcpy(ret_flow, confirmed, sizeof(*ret_flow));
		return FLOW_CONFIRMED;
	}
	if (bpf_map_lookup_elem(fd_of(programs->maps.new_flows), &key, &flow))
		return FLOW_NOWHERE;
	if (ret_flow)
		*ret_flow = flow;
	return FLOW_AMONG_NEW;
}

static bool has_direction(const void *key, const void *context)
{
	const enum flow_direction *direction = context;
	const struct flow_key *flow_key = key;

	return flow_key->direction == *direction;
}

void given_half_left(enum flow_direction direction)
{
	assert_int_equal(map_keep_only(fd_of(programs->maps.new_flows), has_direction, &direction),
			 0);
	assert_int_equal(map_count(fd_of(programs->maps.new_flows)), 1);
}

enum flow_place original_place(struct flow *ret_flow)
{
	return flow_place(client(4000), vip(80), FLOW_ORIGINAL, ret_flow);
}

enum flow_place reply_place(struct flow *ret_flow)
{
	return flow_place(pod(1), client(4000), FLOW_REPLY, ret_flow);
}

struct address_flows address_flows_of(struct ip_addr addr)
{
	struct address_flows flows = {};
	struct address_info info;

	assert_int_equal(bpf_map_lookup_elem(fd_of(programs->maps.addresses), &addr, &info), 0);
	assert_int_equal(
		bpf_map_lookup_elem(fd_of(programs->maps.address_flows), &info.index, &flows), 0);
	return flows;
}

/* Packets. */

struct frame built(struct packet_spec spec)
{
	return packet_build(&spec);
}

struct packet_spec segment(struct peer src, struct peer dst, __u8 tcp_flags)
{
	return (struct packet_spec){
		.src = src,
		.dst = dst,
		.proto = variant.proto,
		.tcp_flags = tcp_flags,
		.seq = tcp_flags & SYN ? 1000 : 1001,
		.ack = tcp_flags & ACK ? 1001 : 0,
		.payload = tcp_flags & PSH || variant.proto == IPPROTO_UDP ? 11 : 0,
	};
}

struct packet_spec opening(struct peer src, struct peer dst)
{
	return segment(src, dst, SYN);
}

struct packet_spec answering(struct peer src, struct peer dst)
{
	return segment(src, dst, SYN | ACK);
}

struct packet_spec following(struct peer src, struct peer dst)
{
	return segment(src, dst, PSH | ACK);
}
