/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The publisher on real maps: it is given plans and must make the maps say the same, without a moment in
 * which a reader sees anything else. Time is handed to it, so that no test waits for a grace period.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "fairlead/limits.h"
#include "log.h"
#include "publish/publish.h"

#define NS_PER_S     1000000000ULL
#define GRACE_S      2ULL
#define BACKENDS_MAX 300 /* of one planned port */
#define TEXT_SIZE    4096

/* -- Maps -- */

struct sizes {
	uint32_t services, slots, backends, frontends, addresses;
};

static const struct sizes usual_sizes = {64, 1024, 256, 64, 512};

struct fixture {
	struct publish_maps maps;
	struct publisher *publisher;
	struct sizes sizes;
	struct service *services;
	struct slot *slots;
	struct backend *backends;
	struct address_flows *address_flows;
	uint64_t ahead_ns; /* of the real clock: only forward, as time goes */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int map_make(enum bpf_map_type type, const char *name, size_t key_size, size_t value_size,
		    uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(type, name, (uint32_t)key_size, (uint32_t)value_size, entries, &options);

	assert_true(fd >= 0);
	return fd;
}

static int array_make(const char *name, size_t value_size, uint32_t entries, void **ret_array)
{
	int fd = map_make(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), value_size, entries,
			  BPF_F_MMAPABLE);

	*ret_array = mmap(NULL, value_size * entries, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(*ret_array, MAP_FAILED);
	return fd;
}

static void when_started(struct fixture *fixture)
{
	assert_int_equal(publisher_open(&fixture->maps, &fixture->publisher), 0);
}

static void when_stopped(struct fixture *fixture)
{
	publisher_close(fixture->publisher);
	fixture->publisher = NULL;
}

static struct fixture *given_maps(const struct sizes *sizes)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct publish_maps *maps = &fixture->maps;

	assert_non_null(fixture);
	fixture->sizes = *sizes;
	maps->frontends = map_make(BPF_MAP_TYPE_HASH, "frontends", sizeof(struct frontend),
				   sizeof(struct frontend_target), sizes->frontends, 0);
	maps->addresses = map_make(BPF_MAP_TYPE_HASH, "addresses", sizeof(struct ip_addr),
				   sizeof(struct address_info), sizes->addresses, 0);
	maps->service_names = map_make(BPF_MAP_TYPE_HASH, "service_names", sizeof(uint32_t),
				       sizeof(struct service_name), sizes->services,
				       BPF_F_NO_PREALLOC);
	maps->service_stats = map_make(BPF_MAP_TYPE_PERCPU_ARRAY, "service_stats", sizeof(uint32_t),
				       sizeof(struct service_stats), sizes->services, 0);
	maps->unprogrammed = map_make(BPF_MAP_TYPE_HASH, "unprogrammed",
				      sizeof(struct unprogrammed_key), sizeof(struct unprogrammed), 4096,
				      BPF_F_NO_PREALLOC);
	maps->services = array_make("services", sizeof(struct service), sizes->services,
				    (void **)&fixture->services);
	maps->slots =
		array_make("slots", sizeof(struct slot), sizes->slots, (void **)&fixture->slots);
	maps->backends = array_make("backends", sizeof(struct backend), sizes->backends,
				    (void **)&fixture->backends);
	maps->address_flows = array_make("address_flows", sizeof(struct address_flows), sizes->addresses,
					 (void **)&fixture->address_flows);
	maps->services_max = sizes->services;
	maps->slots_max = sizes->slots;
	maps->backends_max = sizes->backends;
	return fixture;
}

static void fixture_free(struct fixture *fixture)
{
	const struct publish_maps *maps = &fixture->maps;
	const int fds[] = {maps->frontends, maps->addresses,     maps->address_flows,
			   maps->services,  maps->slots,	 maps->backends,
			   maps->service_names, maps->service_stats, maps->unprogrammed};

	publisher_close(fixture->publisher);
	(void)munmap(fixture->services, sizeof(struct service) * fixture->sizes.services);
	(void)munmap(fixture->slots, sizeof(struct slot) * fixture->sizes.slots);
	(void)munmap(fixture->backends, sizeof(struct backend) * fixture->sizes.backends);
	(void)munmap(fixture->address_flows, sizeof(struct address_flows) * fixture->sizes.addresses);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		(void)close(fds[i]);
	free(fixture);
}

static int setup(void **state)
{
	struct fixture *fixture = given_maps(&usual_sizes);

	when_started(fixture);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* -- Plans -- */

static struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

static struct ip_addr ip_number(const char *prefix, uint32_t number)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)snprintf(text, sizeof(text), "%s.%u.%u", prefix, number >> 8 & 0xff, number & 0xff);
	return ip(text);
}

struct port_plan {
	struct planned_port port;
	struct planned_frontend frontend;
	struct planned_backend backends[BACKENDS_MAX];
};

/* shop/<name>, one port http at `vip`:80. */
static void port_begin(struct port_plan *plan, const char *name, const char *vip, __u8 proto)
{
	memset(plan, 0, sizeof(*plan));
	(void)snprintf(plan->port.name.namespace_, NAME_SIZE, "shop");
	(void)snprintf(plan->port.name.name, NAME_SIZE, "%s", name);
	(void)snprintf(plan->port.name.port_name, NAME_SIZE, "http");
	plan->port.name.proto = proto;
	plan->frontend.frontend.vip = ip(vip);
	plan->frontend.frontend.port = htons(80);
	plan->frontend.frontend.proto = proto;
	plan->frontend.kind = FRONTEND_CLUSTER_IP;
	plan->port.name.family = address_family(&plan->frontend.frontend.vip);
	plan->port.frontends = &plan->frontend;
	plan->port.frontend_count = 1;
	plan->port.backends = plan->backends;
	plan->port.uses_cluster = true;
}

static struct planned_backend *port_add(struct port_plan *plan, uint32_t number)
{
	struct planned_backend *backend = &plan->backends[plan->port.backend_count++];

	assert_true(plan->port.backend_count <= BACKENDS_MAX);
	*backend = (struct planned_backend){
		.addr = ip_number("10.0", number),
		.port = htons(8080),
		.state = BACKEND_ACTIVE,
		.in_cluster = true,
	};
	plan->port.name.total++;
	plan->port.name.ready++;
	return backend;
}

/* "1 2 3:leaving 4:unready 5:here": endpoints 10.0.0.1 and so on; "leaving" and "unready" are in no list. */
static void port_add_text(struct port_plan *plan, const char *text)
{
	char copy[256], *rest = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		struct planned_backend *backend = port_add(plan, (uint32_t)strtoul(word, NULL, 10));

		backend->is_local = strstr(word, ":here");
		backend->terminating = strstr(word, ":leaving");
		if (backend->terminating || strstr(word, ":unready")) {
			backend->state = BACKEND_DRAINING;
			backend->in_cluster = false;
		}
	}
}

/* internalTrafficPolicy Local: the members that are here. */
static void port_make_local(struct port_plan *plan)
{
	plan->port.uses_cluster = false;
	plan->port.uses_local = true;
	plan->port.flags = SERVICE_INTERNAL_LOCAL;
	plan->port.empty_local = EMPTY_DROP;
	for (size_t i = 0; i < plan->port.backend_count; i++) {
		struct planned_backend *backend = &plan->backends[i];

		backend->in_local = backend->in_cluster && backend->is_local;
		backend->in_cluster = false;
		backend->state = backend->in_local ? BACKEND_ACTIVE : BACKEND_DRAINING;
	}
}

static int when_applied(struct fixture *fixture, struct port_plan *port)
{
	const struct plan plan = {.ports = &port->port, .port_count = 1};

	return publisher_apply(fixture->publisher, port->port.name.namespace_, port->port.name.name,
			       &plan);
}

/* The usual case: TCP at `vip`. */
static int when_service(struct fixture *fixture, const char *name, const char *vip,
			const char *endpoints)
{
	struct port_plan plan;

	port_begin(&plan, name, vip, IPPROTO_TCP);
	port_add_text(&plan, endpoints);
	return when_applied(fixture, &plan);
}

static void when_gone(struct fixture *fixture, const char *name)
{
	assert_int_equal(publisher_apply(fixture->publisher, "shop", name, NULL), 0);
}

static void when_later(struct fixture *fixture, uint64_t seconds)
{
	fixture->ahead_ns += seconds * NS_PER_S;
	(void)publisher_reclaim(fixture->publisher, now_ns() + fixture->ahead_ns);
}

/* All grace periods are over, one after the other. */
static void when_settled(struct fixture *fixture)
{
	for (int round = 0; round < 4; round++)
		when_later(fixture, 10);
}

/* -- What the maps say -- */

static uint32_t service_id_of(struct fixture *fixture, const char *vip, __u8 proto)
{
	struct frontend frontend = {.vip = ip(vip), .port = htons(80), .proto = proto};
	struct frontend_target target;

	if (bpf_map_lookup_elem(fixture->maps.frontends, &frontend, &target))
		return 0;
	return target.service;
}

static struct service *service_of(struct fixture *fixture, const char *vip)
{
	uint32_t id = service_id_of(fixture, vip, IPPROTO_TCP);

	assert_int_not_equal(id, 0);
	assert_true(fixture->services[id].flags & SERVICE_IN_USE);
	return &fixture->services[id];
}

static uint32_t backend_id_of(struct fixture *fixture, uint32_t number, __u8 proto)
{
	struct ip_addr addr = ip_number("10.0", number);

	for (uint32_t id = 1; id < fixture->sizes.backends; id++) {
		const struct backend *backend = &fixture->backends[id];

		if (backend->state != BACKEND_FREE && address_equal(&backend->addr, &addr) &&
		    backend->proto == proto)
			return id;
	}
	return 0;
}

static void then_state(struct fixture *fixture, uint32_t number, enum backend_state expected)
{
	uint32_t id = backend_id_of(fixture, number, IPPROTO_TCP);

	assert_int_equal(id ? fixture->backends[id].state : BACKEND_FREE, expected);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* The list leads to exactly these backends, ids ascending, all active. */
static void then_list(struct fixture *fixture, struct slot_range range, const char *expected)
{
	uint32_t numbers[BACKENDS_MAX];
	char text[TEXT_SIZE] = "";

	assert_true(range.count <= BACKENDS_MAX);
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = fixture->slots[range.first + i].backend;

		assert_in_range(id, 1, fixture->sizes.backends - 1);
		assert_int_equal(fixture->backends[id].state, BACKEND_ACTIVE);
		if (i)
			assert_true(fixture->slots[range.first + i - 1].backend < id);
		numbers[i] = fixture->backends[id].addr.bytes[15];
	}
	qsort(numbers, range.count, sizeof(numbers[0]), compare_numbers);
	for (uint32_t i = 0; i < range.count; i++) {
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len, "%s%u", len ? " " : "", numbers[i]);
	}
	assert_string_equal(text, expected);
}

static void then_served(struct fixture *fixture, const char *vip, const char *expected)
{
	then_list(fixture, service_of(fixture, vip)->cluster_slots, expected);
}

static uint32_t address_flags(struct fixture *fixture, const struct ip_addr *addr)
{
	struct address_info info;

	if (bpf_map_lookup_elem(fixture->maps.addresses, addr, &info))
		return 0;
	assert_in_range(info.index, 1, fixture->sizes.addresses - 1);
	return info.flags;
}

static void then_address(struct fixture *fixture, const char *addr, uint32_t expected)
{
	struct ip_addr key = ip(addr);

	assert_int_equal(address_flags(fixture, &key), expected);
}

static struct address_flows *flows_of(struct fixture *fixture, const char *text)
{
	struct ip_addr addr = ip(text);
	struct address_info info;

	assert_int_equal(bpf_map_lookup_elem(fixture->maps.addresses, &addr, &info), 0);
	return &fixture->address_flows[info.index];
}

static uint32_t map_count(int map, size_t key_size)
{
	char key[256];
	uint32_t count = 0;

	assert_true(key_size <= sizeof(key));
	for (void *last = NULL; !bpf_map_get_next_key(map, last, key); last = key)
		count++;
	return count;
}

/* Why shop/<name> port http (IPv4, TCP) is not programmed; reason 0: it is. */
static struct unprogrammed reason_of(struct fixture *fixture, const char *name)
{
	struct unprogrammed_key key = {.namespace_ = "shop",
				       .port_name = "http",
				       .proto = IPPROTO_TCP,
				       .family = FAMILY_IPV4};
	struct unprogrammed value = {};

	(void)snprintf(key.name, sizeof(key.name), "%s", name);
	if (bpf_map_lookup_elem(fixture->maps.unprogrammed, &key, &value))
		return (struct unprogrammed){};
	return value;
}

static void then_full(struct fixture *fixture, const char *name, const char *map, const char *flag)
{
	struct unprogrammed reason = reason_of(fixture, name);

	assert_int_equal(reason.reason, UNPROGRAMMED_MAP_FULL);
	assert_non_null(strstr(reason.detail, map));
	assert_non_null(strstr(reason.detail, flag));
}

static void then_fits(struct fixture *fixture, const char *name)
{
	assert_int_equal(reason_of(fixture, name).reason, 0);
}

static struct publisher_numbers numbers_of(struct fixture *fixture)
{
	struct publisher_numbers numbers;

	publisher_numbers(fixture->publisher, &numbers);
	return numbers;
}

/* Each byte of all maps that a publish can change. */
struct dump {
	char *bytes;
	size_t size;
};

static void dump_add(struct dump *dump, const void *bytes, size_t size)
{
	dump->bytes = realloc(dump->bytes, dump->size + size);
	assert_non_null(dump->bytes);
	memcpy(dump->bytes + dump->size, bytes, size);
	dump->size += size;
}

static void dump_add_hash(struct dump *dump, int map, size_t key_size, size_t value_size)
{
	char key[256], value[256];

	for (void *last = NULL; !bpf_map_get_next_key(map, last, key); last = key) {
		assert_int_equal(bpf_map_lookup_elem(map, key, value), 0);
		dump_add(dump, key, key_size);
		dump_add(dump, value, value_size);
	}
}

static struct dump dump_of(struct fixture *fixture)
{
	const struct publish_maps *maps = &fixture->maps;
	const struct sizes *sizes = &fixture->sizes;
	struct dump dump = {};

	dump_add(&dump, fixture->services, sizeof(struct service) * sizes->services);
	dump_add(&dump, fixture->slots, sizeof(struct slot) * sizes->slots);
	dump_add(&dump, fixture->backends, sizeof(struct backend) * sizes->backends);
	dump_add(&dump, fixture->address_flows, sizeof(struct address_flows) * sizes->addresses);
	dump_add_hash(&dump, maps->frontends, sizeof(struct frontend), sizeof(struct frontend_target));
	dump_add_hash(&dump, maps->addresses, sizeof(struct ip_addr), sizeof(struct address_info));
	dump_add_hash(&dump, maps->service_names, sizeof(uint32_t), sizeof(struct service_name));
	dump_add_hash(&dump, maps->unprogrammed, sizeof(struct unprogrammed_key),
		      sizeof(struct unprogrammed));
	return dump;
}

static void then_unchanged(struct fixture *fixture, struct dump *before)
{
	struct dump after = dump_of(fixture);

	assert_int_equal(after.size, before->size);
	assert_memory_equal(after.bytes, before->bytes, after.size);
	free(after.bytes);
	free(before->bytes);
}

/* -- A service port's life -- */

static void test_new_service(void **state)
{
	struct fixture *fixture = *state;
	struct service_name name;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 3:unready"), 0);

	then_served(fixture, "10.96.0.1", "1 2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_address(fixture, "10.0.0.1", ADDRESS_BACKEND);
	then_address(fixture, "10.0.0.3", ADDRESS_BACKEND);
	then_state(fixture, 3, BACKEND_DRAINING);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 2, IPPROTO_TCP)].flags,
			 BACKEND_LOCAL);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
	assert_string_equal(name.name, "web");
	assert_int_equal(name.total, 3);
	assert_int_equal(numbers_of(fixture).service_ports, 1);
	assert_int_equal(numbers_of(fixture).backends, 3);
	assert_int_equal(numbers_of(fixture).draining, 1);
	assert_int_equal(numbers_of(fixture).slots, 2);
	assert_int_equal(numbers_of(fixture).frontends, 1);
}

static void test_index_zero(void **state)
{
	struct fixture *fixture = *state;
	const struct backend no_backend = {};
	const struct service no_service = {};
	const struct address_flows no_flows = {};

	for (char name[] = "a"; name[0] <= 'e'; name[0]++) {
		char vip[32];

		(void)snprintf(vip, sizeof(vip), "10.96.0.%d", name[0]);
		assert_int_equal(when_service(fixture, name, vip, "1 2 3"), 0);
	}

	assert_memory_equal(&fixture->services[0], &no_service, sizeof(no_service));
	assert_memory_equal(&fixture->backends[0], &no_backend, sizeof(no_backend));
	assert_memory_equal(&fixture->address_flows[0], &no_flows, sizeof(no_flows));
}

static void test_same_plan_again(void **state)
{
	struct fixture *fixture = *state;
	struct publisher_numbers before;
	struct dump dump;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3:leaving"), 0);
	dump = dump_of(fixture);
	before = numbers_of(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3:leaving"), 0);

	then_unchanged(fixture, &dump);
	assert_int_equal(numbers_of(fixture).changed_service_ports, before.changed_service_ports);
}

static void test_ids_are_stable(void **state)
{
	struct fixture *fixture = *state;
	uint32_t service, first, second;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	service = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	first = backend_id_of(fixture, 1, IPPROTO_TCP);
	second = backend_id_of(fixture, 2, IPPROTO_TCP);

	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "9 2 1"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "5 6 2 7"), 0);
	when_settled(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), service);
	assert_int_equal(backend_id_of(fixture, 1, IPPROTO_TCP), first);
	assert_int_equal(backend_id_of(fixture, 2, IPPROTO_TCP), second);
	then_served(fixture, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.2", "1 2 9");
}

static void test_protocols_have_their_own_backends(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan udp;

	port_begin(&udp, "dns", "10.96.0.1", IPPROTO_UDP);
	port_add_text(&udp, "1");
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_applied(fixture, &udp), 0);

	assert_int_not_equal(backend_id_of(fixture, 1, IPPROTO_TCP),
			     backend_id_of(fixture, 1, IPPROTO_UDP));
	assert_int_not_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP),
			     service_id_of(fixture, "10.96.0.1", IPPROTO_UDP));

	/* The VIP stays one while the other Service has it. */
	when_gone(fixture, "dns");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_served(fixture, "10.96.0.1", "1");
}

static void test_empty_lists_say_what_clients_get(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", ""), 0);
	service = service_of(fixture, "10.96.0.1");
	assert_int_equal(service->cluster_slots.count, 0);
	assert_int_equal(service->cluster_slots.first, EMPTY_REJECT);

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1 2");
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);

	assert_int_equal(service->flags, SERVICE_IN_USE | SERVICE_INTERNAL_LOCAL);
	assert_int_equal(service->local_slots.count, 0);
	assert_int_equal(service->local_slots.first, EMPTY_DROP);
	then_state(fixture, 1, BACKEND_DRAINING);
}

static void test_policy_changes(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:here 2"), 0);
	service = service_of(fixture, "10.96.0.1");

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2");
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);
	then_list(fixture, service->local_slots, "1");
	then_list(fixture, service->cluster_slots, "");
	then_state(fixture, 2, BACKEND_DRAINING);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:here 2"), 0);
	then_list(fixture, service->cluster_slots, "1 2");
	then_list(fixture, service->local_slots, "");
	assert_int_equal(service->flags, SERVICE_IN_USE);
}

static void test_affinity(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;
	struct slot_range before;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	before = service_of(fixture, "10.96.0.1")->cluster_slots;
	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1");
	plan.port.affinity_timeout_s = 600;

	assert_int_equal(when_applied(fixture, &plan), 0);

	assert_int_equal(service_of(fixture, "10.96.0.1")->affinity_timeout_s, 600);
	assert_memory_equal(&service_of(fixture, "10.96.0.1")->cluster_slots, &before, sizeof(before));
}

static void test_new_cluster_ip(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);

	assert_int_equal(when_service(fixture, "web", "10.96.0.7", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);
	assert_int_equal(service_id_of(fixture, "10.96.0.7", IPPROTO_TCP), id);
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	then_served(fixture, "10.96.0.7", "1 2");
	assert_int_equal(numbers_of(fixture).frontends, 1);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", 0);
}

static void test_address_taken_over(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "old", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "new", "10.96.0.1", "2"), 0);
	assert_int_equal(when_service(fixture, "old", "10.96.0.2", "1"), 0);

	then_served(fixture, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.2", "1");
	when_gone(fixture, "old");
	then_served(fixture, "10.96.0.1", "2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
}

static void test_service_that_goes(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);

	when_gone(fixture, "web");

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);
	assert_int_equal(fixture->services[id].flags, 0);
	assert_int_equal(map_count(fixture->maps.service_names, sizeof(uint32_t)), 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 0);
	then_state(fixture, 1, BACKEND_FREE);
	assert_int_equal(numbers_of(fixture).service_ports, 0);
	assert_int_equal(numbers_of(fixture).backends, 0);
	assert_int_equal(numbers_of(fixture).draining, 0);
	assert_int_equal(numbers_of(fixture).slots, 0);
	assert_int_equal(numbers_of(fixture).frontends, 0);
	assert_int_equal(publisher_reclaim(fixture->publisher, now_ns() + fixture->ahead_ns), 0);
}

static void test_reasons(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	plan.port.frontend_count = 0;
	plan.port.unprogrammed = UNPROGRAMMED_LOCAL_ADDRESS;
	(void)snprintf(plan.port.detail, sizeof(plan.port.detail), "nodelocaldns");

	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(reason_of(fixture, "web").reason, UNPROGRAMMED_LOCAL_ADDRESS);
	assert_string_equal(reason_of(fixture, "web").detail, "nodelocaldns");
	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	then_fits(fixture, "web");
	then_served(fixture, "10.96.0.1", "1");

	assert_int_equal(when_applied(fixture, &plan), 0);
	when_gone(fixture, "web");
	then_fits(fixture, "web");
}

/* -- Backends that leave -- */

static void test_terminating_then_gone(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:leaving"), 0);
	then_state(fixture, 2, BACKEND_DRAINING);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	then_state(fixture, 2, BACKEND_DEAD);
	assert_int_equal(numbers_of(fixture).draining, 0);
}

static void test_gone_without_terminating(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	flows_of(fixture, "10.0.0.2")->confirmed = 1;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_DRAINING);
	then_address(fixture, "10.0.0.2", ADDRESS_BACKEND);

	flows_of(fixture, "10.0.0.2")->confirmed = 0;
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_FREE);
	then_address(fixture, "10.0.0.2", 0);
}

static void test_new_flows_keep_a_backend(void **state)
{
	struct fixture *fixture = *state;
	uint64_t now = now_ns();

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	flows_of(fixture, "10.0.0.2")->new_until_s = (uint32_t)(now / NS_PER_S + 60);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	when_later(fixture, 30);
	then_state(fixture, 2, BACKEND_DRAINING);
	when_later(fixture, 40);
	then_state(fixture, 2, BACKEND_FREE);
}

static void test_backend_of_two_services(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1"), 0);

	when_gone(fixture, "web");
	then_state(fixture, 1, BACKEND_ACTIVE);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1:unready"), 0);
	then_state(fixture, 1, BACKEND_DRAINING);
}

static void test_backend_that_comes_back(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id, generation;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	generation = fixture->backends[id].generation;
	assert_int_not_equal(generation, 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:leaving"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	then_state(fixture, 2, BACKEND_DEAD);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_settled(fixture);

	then_state(fixture, 2, BACKEND_ACTIVE);
	assert_int_equal(backend_id_of(fixture, 2, IPPROTO_TCP), id);
	assert_int_equal(fixture->backends[id].generation, generation);
	then_served(fixture, "10.96.0.1", "1 2");
}

static void left_collect(const struct ip_addr *addr, __be16 port, __u8 proto, void *context)
{
	char *text = context;
	size_t len = strlen(text);

	assert_int_equal(port, htons(8080));
	assert_int_equal(proto, IPPROTO_UDP);
	(void)snprintf(text + len, TEXT_SIZE - len, "%u ", addr->bytes[15]);
}

static void then_left(struct fixture *fixture, const char *expected)
{
	char text[TEXT_SIZE] = "";

	publisher_drain_left(fixture->publisher, left_collect, text);
	assert_string_equal(text, expected);
}

static void when_udp(struct fixture *fixture, const char *endpoints)
{
	struct port_plan plan;

	port_begin(&plan, "dns", "10.96.0.10", IPPROTO_UDP);
	port_add_text(&plan, endpoints);
	assert_int_equal(when_applied(fixture, &plan), 0);
}

static void test_left_udp_backends_are_told(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "8 9"), 0);
	when_udp(fixture, "1 2 3 4");
	then_left(fixture, "");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "8"), 0);
	when_udp(fixture, "1 2 3:leaving");
	then_left(fixture, "3 4 ");
	then_left(fixture, "");

	/* One that is back by the time of telling has not left. */
	when_udp(fixture, "1");
	when_udp(fixture, "1 2");
	then_left(fixture, "");
}

/* -- Grace -- */

static void test_grace_of_slots_and_backends(void **state)
{
	struct fixture *fixture = *state;
	struct slot_range old;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	old = service_of(fixture, "10.96.0.1")->cluster_slots;
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	/* The list that programs may still look at keeps its content, whatever is published. */
	for (uint32_t i = 0; i < 100; i++) {
		char other[16];

		(void)snprintf(other, sizeof(other), "%u %u", 10 + i, 11 + i);
		assert_int_equal(when_service(fixture, "api", "10.96.0.2", other), 0);
		when_later(fixture, 0);
	}
	assert_int_equal(fixture->slots[old.first + 1].backend, id);
	assert_int_equal(fixture->backends[id].addr.bytes[15], 2);
	then_state(fixture, 2, BACKEND_DRAINING);
}

static void test_reclaim_says_when(void **state)
{
	struct fixture *fixture = *state;
	uint64_t wait_ms;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(publisher_reclaim(fixture->publisher, now_ns()), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	wait_ms = publisher_reclaim(fixture->publisher, now_ns());
	assert_in_range(wait_ms, 1, GRACE_S * 1000 + 1);
}

static void test_reused_id_has_another_generation(void **state)
{
	const struct sizes sizes = {8, 64, 4, 8, 32};
	struct fixture *fixture = given_maps(&sizes);
	uint32_t id, generation;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3"), 0);
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	generation = fixture->backends[id].generation;
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 3"), 0);
	when_settled(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 3 4"), 0);

	assert_int_equal(backend_id_of(fixture, 4, IPPROTO_TCP), id);
	assert_int_not_equal(fixture->backends[id].generation, generation);
	then_served(fixture, "10.96.0.1", "1 3 4");
	fixture_free(fixture);
}

/* -- VIPs that retire -- */

static void test_vip_stays_while_flows_do(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;

	when_gone(fixture, "web");
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);

	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", 0);
}

static void test_vip_that_comes_back(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;
	when_gone(fixture, "web");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	assert_int_equal(flows_of(fixture, "10.96.0.1")->confirmed, 1);
	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_served(fixture, "10.96.0.1", "1");
}

static void test_service_id_waits_for_flows(void **state)
{
	const struct sizes sizes = {3, 64, 64, 8, 64}; /* ids 1 and 2 */
	struct fixture *fixture = given_maps(&sizes);
	uint32_t id;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;
	when_gone(fixture, "web");
	when_settled(fixture);

	assert_int_equal(when_service(fixture, "new", "10.96.0.3", "1"), -ENOSPC);
	then_full(fixture, "new", "services", "--max-services");

	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	assert_int_equal(when_service(fixture, "new", "10.96.0.3", "1"), 0);
	assert_int_equal(service_id_of(fixture, "10.96.0.3", IPPROTO_TCP), id);
	then_fits(fixture, "new");
	fixture_free(fixture);
}

/* -- Addresses of the node -- */

static void test_node_addresses(void **state)
{
	struct fixture *fixture = *state;
	const struct ip_addr first[] = {ip("192.0.2.1"), ip("10.0.0.1"), ip("10.96.0.1")};
	const struct ip_addr second[] = {ip("192.0.2.2")};

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(publisher_set_node_addresses(fixture->publisher, first, 3), 0);
	then_address(fixture, "192.0.2.1", ADDRESS_NODE);
	then_address(fixture, "10.0.0.1", ADDRESS_NODE | ADDRESS_BACKEND);
	then_address(fixture, "10.96.0.1", ADDRESS_NODE | ADDRESS_CLUSTER_IP);

	/* An agent that starts anew must find those it has to take back. */
	when_stopped(fixture);
	when_started(fixture);
	assert_int_equal(publisher_set_node_addresses(fixture->publisher, second, 1), 0);
	then_address(fixture, "192.0.2.1", 0);
	then_address(fixture, "192.0.2.2", ADDRESS_NODE);
	then_address(fixture, "10.0.0.1", ADDRESS_BACKEND);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
}

/* -- Full maps -- */

static int retry(const char *namespace_, const char *name, void *context)
{
	struct fixture *fixture = context;

	assert_string_equal(namespace_, "shop");
	return when_service(fixture, name, "10.96.0.9", "21 22 23 24");
}

/*
 * shop/big (10.96.0.9 -> 21 to 24) does not fit beside shop/web: nothing of it is left in any map; when
 * shop/web is gone it is tried again and fits. Until then it is not tried in vain.
 */
static void then_refused_until_room(const struct sizes *sizes, const char *map, const char *flag)
{
	struct fixture *fixture = given_maps(sizes);
	struct dump before;
	struct unprogrammed_key key = {.namespace_ = "shop",
				       .name = "big",
				       .port_name = "http",
				       .proto = IPPROTO_TCP,
				       .family = FAMILY_IPV4};

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_settled(fixture);
	before = dump_of(fixture);

	assert_int_equal(when_service(fixture, "big", "10.96.0.9", "21 22 23 24"), -ENOSPC);

	then_full(fixture, "big", map, flag);
	assert_int_equal(numbers_of(fixture).refused_service_ports, 1);
	assert_int_equal(numbers_of(fixture).unfitting, 1);
	assert_int_equal(numbers_of(fixture).service_ports, 1);
	assert_int_equal(numbers_of(fixture).backends, 2);
	assert_int_equal(numbers_of(fixture).draining, 0);
	then_served(fixture, "10.96.0.1", "1 2");
	then_state(fixture, 21, BACKEND_FREE);

	when_settled(fixture);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);
	assert_int_equal(numbers_of(fixture).refused_service_ports, 1);

	/* Apart from the reason, and entries that are free, the maps are as they were. */
	assert_int_equal(bpf_map_delete_elem(fixture->maps.unprogrammed, &key), 0);
	for (uint32_t id = 1; id < sizes->backends; id++) {
		if (fixture->backends[id].state == BACKEND_FREE)
			memset(&fixture->backends[id], 0, sizeof(fixture->backends[id]));
	}
	then_unchanged(fixture, &before);

	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);
	then_served(fixture, "10.96.0.9", "21 22 23 24");
	then_fits(fixture, "big");
	assert_int_equal(numbers_of(fixture).unfitting, 0);
	fixture_free(fixture);
}

static void test_services_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){2, 64, 64, 64, 64}, "services", "--max-services");
}

static void test_slots_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 4, 64, 64, 64}, "slots", "--max-slots");
}

static void test_backends_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 6, 64, 64}, "backends", "--max-backends");
}

static void test_frontends_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 64, 1, 64}, "frontends", "--max-services");
}

static void test_addresses_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 64, 64, 6}, "addresses", "--max-backends");
}

static void test_change_that_does_not_fit(void **state)
{
	const struct sizes sizes = {16, 64, 4, 16, 64};
	struct fixture *fixture = given_maps(&sizes);
	struct service_name name;
	uint32_t id;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "2 3 4"), -ENOSPC);

	then_served(fixture, "10.96.0.1", "1 2");
	then_full(fixture, "web", "backends", "--max-backends");
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
	assert_int_equal(name.total, 2);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);
	then_served(fixture, "10.96.0.2", "1 2");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "2 3"), 0);
	then_served(fixture, "10.96.0.1", "2 3");
	then_fits(fixture, "web");
	assert_int_equal(numbers_of(fixture).unfitting, 0);
	fixture_free(fixture);
}

static void test_list_beyond_the_limit(void **state)
{
	const struct sizes sizes = {8, 4 * SLOT_RANGE_MAX, 2 * SLOT_RANGE_MAX, 8, 2 * SLOT_RANGE_MAX};
	struct fixture *fixture = given_maps(&sizes);
	size_t count = SLOT_RANGE_MAX + 1;
	struct planned_backend *backends = calloc(count, sizeof(*backends));
	struct port_plan plan;

	(void)state;
	assert_non_null(backends);
	when_started(fixture);
	for (size_t i = 0; i < count; i++)
		backends[i] = (struct planned_backend){.addr = ip("10.0.0.1"),
						       .port = htons((uint16_t)i),
						       .state = BACKEND_ACTIVE,
						       .in_cluster = true};
	backends[count - 1].addr = ip("10.0.0.2");
	port_begin(&plan, "huge", "10.96.0.1", IPPROTO_TCP);
	plan.port.backends = backends;
	plan.port.backend_count = count;

	assert_int_equal(when_applied(fixture, &plan), -ENOSPC);
	assert_int_equal(reason_of(fixture, "huge").reason, UNPROGRAMMED_MAP_FULL);
	assert_non_null(strstr(reason_of(fixture, "huge").detail, "65536"));

	plan.port.backend_count--;
	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(service_of(fixture, "10.96.0.1")->cluster_slots.count, SLOT_RANGE_MAX);
	fixture_free(fixture);
	free(backends);
}

/* -- Start, crash -- */

static void when_restarted(struct fixture *fixture)
{
	when_stopped(fixture);
	when_started(fixture);
}

static void test_restart_writes_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct ip_addr node[] = {ip("192.0.2.1"), ip("10.0.0.1")};
	struct port_plan plan, reason;
	struct dump before;

	port_begin(&plan, "local", "10.96.0.3", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2 3:here");
	port_make_local(&plan);
	plan.port.affinity_timeout_s = 600;
	port_begin(&reason, "other", "10.96.0.4", IPPROTO_TCP);
	reason.port.unprogrammed = UNPROGRAMMED_HEADLESS;
	/* 10.0.0.9 is a VIP and a backend at once. */
	for (int run = 0; run < 2; run++) {
		assert_int_equal(publisher_set_node_addresses(fixture->publisher, node, 2), 0);
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 5:leaving"), 0);
		assert_int_equal(when_service(fixture, "api", "10.0.0.9", "9 2:here 6:unready"), 0);
		assert_int_equal(when_applied(fixture, &plan), 0);
		assert_int_equal(when_applied(fixture, &reason), 0);
		if (run)
			break;
		when_settled(fixture);
		before = dump_of(fixture);
		when_restarted(fixture);
	}
	assert_int_equal(publisher_remove_unclaimed(fixture->publisher), 0);
	when_settled(fixture);

	then_unchanged(fixture, &before);
	assert_int_equal(numbers_of(fixture).changed_service_ports, 0);
	assert_int_equal(numbers_of(fixture).service_ports, 3);
	assert_int_equal(numbers_of(fixture).backends, 6);
	then_left(fixture, "");
}

static void test_nothing_is_removed_before_it_is_known_to_be_gone(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan reason;

	port_begin(&reason, "other", "10.96.0.4", IPPROTO_TCP);
	reason.port.unprogrammed = UNPROGRAMMED_HEADLESS;
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "2"), 0);
	assert_int_equal(when_applied(fixture, &reason), 0);
	when_restarted(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	when_settled(fixture);
	then_served(fixture, "10.96.0.2", "2");
	assert_int_equal(reason_of(fixture, "other").reason, UNPROGRAMMED_HEADLESS);

	assert_int_equal(publisher_remove_unclaimed(fixture->publisher), 0);
	assert_int_equal(service_id_of(fixture, "10.96.0.2", IPPROTO_TCP), 0);
	assert_int_equal(reason_of(fixture, "other").reason, 0);
	then_served(fixture, "10.96.0.1", "1");
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_FREE);
	then_address(fixture, "10.96.0.2", 0);
}

static void test_retired_vip_survives_a_restart(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 2;
	flows_of(fixture, "10.0.0.1")->confirmed = 2;
	when_gone(fixture, "web");

	when_restarted(fixture);
	when_settled(fixture);

	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	then_state(fixture, 1, BACKEND_DRAINING);
	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	flows_of(fixture, "10.0.0.1")->confirmed = 0;
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 0);
}

/* What a publish that stopped halfway leaves behind, and worse; nothing of it may do harm. */
static void test_crash_repair(void **state)
{
	struct fixture *fixture = *state;
	struct service_name name = {.namespace_ = "shop", .name = "half", .port_name = "http"};
	struct service_name twin = {.namespace_ = "shop", .name = "web", .port_name = "http",
				    .proto = IPPROTO_TCP, .family = FAMILY_IPV4};
	struct frontend frontend = {.vip = ip("10.96.0.77"), .port = htons(80), .proto = IPPROTO_TCP};
	struct frontend_target target = {.service = 40, .kind = FRONTEND_CLUSTER_IP};
	struct address_info bad_index = {.flags = ADDRESS_BACKEND, .index = 9999};
	struct ip_addr addr = ip("10.0.0.99");
	uint32_t id = 40;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_stopped(fixture);
	/* A names entry without a services entry, and a services entry without a name. */
	assert_int_equal(bpf_map_update_elem(fixture->maps.service_names, &id, &name, BPF_ANY), 0);
	fixture->services[41] = (struct service){.cluster_slots = {0, 4}, .flags = SERVICE_IN_USE};
	fixture->services[42] = (struct service){.cluster_slots = {0, 4}};
	/* A second port of the same name, whose list is the first one's. */
	id = 43;
	assert_int_equal(bpf_map_update_elem(fixture->maps.service_names, &id, &twin, BPF_ANY), 0);
	fixture->services[43] = fixture->services[1];
	/* A backend that nobody has, one of no known state, and one twice. */
	fixture->backends[50] = (struct backend){.addr = ip("10.0.0.50"), .port = htons(8080),
						 .proto = IPPROTO_TCP, .state = BACKEND_ACTIVE,
						 .generation = 7};
	fixture->backends[51] = (struct backend){.addr = ip("10.0.0.51"), .state = 99};
	fixture->backends[52] = fixture->backends[1];
	/* A frontend that leads nowhere, an address with an index out of bounds. */
	assert_int_equal(bpf_map_update_elem(fixture->maps.frontends, &frontend, &target, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(fixture->maps.addresses, &addr, &bad_index, BPF_ANY), 0);

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(publisher_remove_unclaimed(fixture->publisher), 0);
	when_settled(fixture);

	then_served(fixture, "10.96.0.1", "1 2");
	then_state(fixture, 50, BACKEND_FREE);
	then_state(fixture, 51, BACKEND_FREE);
	then_address(fixture, "10.0.0.99", 0);
	then_address(fixture, "10.96.0.77", 0);
	assert_int_equal(map_count(fixture->maps.service_names, sizeof(uint32_t)), 1);
	assert_int_equal(map_count(fixture->maps.frontends, sizeof(struct frontend)), 1);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 3);
	assert_int_equal(fixture->services[41].flags, 0);
	assert_int_equal(numbers_of(fixture).backends, 2);
	assert_int_equal(numbers_of(fixture).draining, 0);
}

/* Stopped between the services entry and the frontend: the port is there, and gets its frontend. */
static void test_crash_before_the_frontend(void **state)
{
	struct fixture *fixture = *state;
	struct frontend frontend = {.vip = ip("10.96.0.1"), .port = htons(80), .proto = IPPROTO_TCP};
	struct ip_addr vip = ip("10.96.0.1");
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	when_stopped(fixture);
	assert_int_equal(bpf_map_delete_elem(fixture->maps.frontends, &frontend), 0);
	assert_int_equal(bpf_map_delete_elem(fixture->maps.addresses, &vip), 0);

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), id);
	then_served(fixture, "10.96.0.1", "1 2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
}

static void test_list_that_is_no_list(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);
	when_stopped(fixture);
	/* One beyond the end, one whose ids do not ascend. */
	service_of(fixture, "10.96.0.1")->cluster_slots.first = fixture->sizes.slots - 1;
	service = service_of(fixture, "10.96.0.2");
	fixture->slots[service->cluster_slots.first].backend =
		fixture->slots[service->cluster_slots.first + 1].backend;

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);

	then_served(fixture, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.2", "1 2");
}

/* -- Atomicity -- */

#define REPLACEMENTS 20000
#define SET_A_FIRST  1
#define SET_A_COUNT  7
#define SET_B_FIRST  101
#define SET_B_COUNT  100

struct watcher {
	struct fixture *fixture;
	struct service *service;
	bool stop;
	uint64_t looks, wrong;
};

/* True if the list, read as a program reads it, is one of the two, whole, and all of it can be served. */
static bool list_is_sound(const struct fixture *fixture, const uint64_t *word)
{
	uint64_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	struct slot_range range;
	unsigned int in_a = 0, in_b = 0;

	memcpy(&range, &value, sizeof(range));
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = *(volatile uint32_t *)&fixture->slots[range.first + i].backend;
		const volatile struct backend *backend = &fixture->backends[id];
		uint8_t number = backend->addr.bytes[15];

		/* The backend may have begun to leave since the word was read, but it is whole. */
		if (!id || (backend->state != BACKEND_ACTIVE && backend->state != BACKEND_DRAINING) ||
		    backend->port != htons(8080))
			return false;
		in_a += number >= SET_A_FIRST && number < SET_A_FIRST + SET_A_COUNT;
		in_b += number >= SET_B_FIRST && number < SET_B_FIRST + SET_B_COUNT;
	}
	return (in_a == SET_A_COUNT && range.count == SET_A_COUNT) ||
	       (in_b == SET_B_COUNT && range.count == SET_B_COUNT);
}

static void *watch(void *context)
{
	struct watcher *watcher = context;
	const uint64_t *word = (const void *)&watcher->service->cluster_slots;

	while (!__atomic_load_n(&watcher->stop, __ATOMIC_RELAXED)) {
		watcher->wrong += !list_is_sound(watcher->fixture, word);
		watcher->looks++;
	}
	return NULL;
}

/*
 * Real time passes between reads, so what is read late is still within its grace period; the publisher's
 * clock is the real one too, and room is made by it, not by hand.
 */
static void test_atomicity(void **state)
{
	const struct sizes sizes = {8, 1 << 22, 1024, 8, 1024};
	struct fixture *fixture = given_maps(&sizes);
	struct watcher watcher = {.fixture = fixture};
	struct port_plan sets[2];
	pthread_t thread;

	(void)state;
	when_started(fixture);
	for (int i = 0; i < 2; i++) {
		port_begin(&sets[i], "web", "10.96.0.1", IPPROTO_TCP);
		for (uint32_t j = 0; j < (i ? SET_B_COUNT : SET_A_COUNT); j++)
			(void)port_add(&sets[i], (i ? SET_B_FIRST : SET_A_FIRST) + j);
	}
	assert_int_equal(when_applied(fixture, &sets[0]), 0);
	watcher.service = service_of(fixture, "10.96.0.1");
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);

	for (int i = 1; i <= REPLACEMENTS; i++) {
		assert_int_equal(when_applied(fixture, &sets[i % 2]), 0);
		(void)publisher_reclaim(fixture->publisher, now_ns());
		if (i % 100 == 0)
			(void)sched_yield();
	}

	__atomic_store_n(&watcher.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(watcher.wrong, 0);
	assert_true(watcher.looks > 100);
	fixture_free(fixture);
}

/* -- Anything in any order -- */

#define RANDOM_ROUNDS   4000
#define RANDOM_SERVICES 12
#define RANDOM_SEEDS    3

static uint32_t random_next(uint64_t *seed)
{
	/* Knuth's MMIX generator; its upper bits are good enough here. */
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static void random_plan(uint64_t *seed, uint32_t service, struct port_plan *plan)
{
	uint32_t count = random_next(seed) % 9, first = random_next(seed) % 40;
	char name[16], vip[32];

	(void)snprintf(name, sizeof(name), "s%u", service);
	(void)snprintf(vip, sizeof(vip), service % 4 ? "10.96.0.%u" : "fd00:96::%u",
		       service + 1 + (random_next(seed) % 8 ? 0 : 100));
	port_begin(plan, name, vip, service % 3 ? IPPROTO_TCP : IPPROTO_UDP);
	for (uint32_t i = 0; i < count; i++) {
		struct planned_backend *backend =
			port_add(plan, first + i * (1 + random_next(seed) % 2) * 2);

		backend->port = htons((uint16_t)(8080 + i));
		backend->is_local = backend->addr.bytes[15] % 3 == 0;
		backend->terminating = random_next(seed) % 6 == 0;
		if (backend->terminating || random_next(seed) % 6 == 0) {
			backend->state = BACKEND_DRAINING;
			backend->in_cluster = false;
		}
	}
	if (random_next(seed) % 3 == 0)
		port_make_local(plan);
	if (random_next(seed) % 4 == 0)
		plan->port.affinity_timeout_s = 1 + random_next(seed) % 1000;
	if (random_next(seed) % 10 == 0)
		plan->port.unprogrammed = UNPROGRAMMED_LOCAL_ADDRESS;
}

/* One line, without ids, for what the maps say. */
struct lines {
	char **items;
	size_t count, room;
};

static void lines_add(struct lines *lines, const char *text)
{
	if (lines->count == lines->room) {
		lines->room = lines->room ? lines->room * 2 : 64;
		lines->items = realloc(lines->items, lines->room * sizeof(*lines->items));
		assert_non_null(lines->items);
	}
	lines->items[lines->count++] = strdup(text);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A list as "first" and its members' addresses, sorted. */
static void list_describe(struct fixture *fixture, struct slot_range range, char *text, size_t size)
{
	struct lines members = {};
	char one[ADDRESS_TEXT_SIZE];
	size_t len = strlen(text);

	if (!range.count)
		(void)snprintf(text + len, size - len, " [empty %u]", range.first);
	for (uint32_t i = 0; i < range.count; i++) {
		const struct backend *backend =
			&fixture->backends[fixture->slots[range.first + i].backend];

		assert_int_equal(backend->state, BACKEND_ACTIVE);
		lines_add(&members, endpoint_format(&backend->addr, backend->port, one));
	}
	if (members.count)
		qsort(members.items, members.count, sizeof(*members.items), compare_lines);
	for (size_t i = 0; i < members.count; i++) {
		len = strlen(text);
		(void)snprintf(text + len, size - len, " %s", members.items[i]);
		free(members.items[i]);
	}
	free(members.items);
}

static void describe_frontends(struct fixture *fixture, struct lines *lines)
{
	struct frontend key;
	struct frontend_target target;
	struct service_name name;
	char text[TEXT_SIZE], one[ADDRESS_TEXT_SIZE];

	for (void *last = NULL; !bpf_map_get_next_key(fixture->maps.frontends, last, &key); last = &key) {
		const struct service *service;
		size_t len;

		assert_int_equal(bpf_map_lookup_elem(fixture->maps.frontends, &key, &target), 0);
		service = &fixture->services[target.service];
		assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &target.service, &name),
				 0);
		(void)snprintf(text, sizeof(text), "%s/%u -> %s %u/%u/%u flags %u affinity %u:",
			       endpoint_format(&key.vip, key.port, one), key.proto, name.name,
			       name.ready, name.total, name.draining, service->flags,
			       service->affinity_timeout_s);
		list_describe(fixture, service->cluster_slots, text, sizeof(text));
		len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, " |");
		list_describe(fixture, service->local_slots, text, sizeof(text));
		lines_add(lines, text);
	}
}

static void describe_rest(struct fixture *fixture, struct lines *lines)
{
	struct unprogrammed_key reason;
	struct address_info info;
	struct ip_addr addr;
	char text[TEXT_SIZE], one[ADDRESS_TEXT_SIZE];

	for (void *last = NULL; !bpf_map_get_next_key(fixture->maps.addresses, last, &addr);
	     last = &addr) {
		assert_int_equal(bpf_map_lookup_elem(fixture->maps.addresses, &addr, &info), 0);
		(void)snprintf(text, sizeof(text), "address %s %u", address_format(&addr, one),
			       info.flags);
		lines_add(lines, text);
	}
	for (uint32_t id = 1; id < fixture->sizes.backends; id++) {
		const struct backend *backend = &fixture->backends[id];

		if (backend->state == BACKEND_FREE)
			continue;
		(void)snprintf(text, sizeof(text), "backend %s/%u state %u flags %u",
			       endpoint_format(&backend->addr, backend->port, one), backend->proto,
			       backend->state, backend->flags);
		lines_add(lines, text);
	}
	for (void *last = NULL; !bpf_map_get_next_key(fixture->maps.unprogrammed, last, &reason);
	     last = &reason) {
		(void)snprintf(text, sizeof(text), "unprogrammed %s", reason.name);
		lines_add(lines, text);
	}
}

static struct lines describe(struct fixture *fixture)
{
	struct lines lines = {};

	describe_frontends(fixture, &lines);
	describe_rest(fixture, &lines);
	if (lines.count)
		qsort(lines.items, lines.count, sizeof(*lines.items), compare_lines);
	return lines;
}

static void then_same(struct fixture *fixture, struct fixture *fresh)
{
	struct lines got = describe(fixture), expected = describe(fresh);

	for (size_t i = 0; i < got.count && i < expected.count; i++)
		assert_string_equal(got.items[i], expected.items[i]);
	assert_int_equal(got.count, expected.count);
	for (size_t i = 0; i < got.count; i++) {
		free(got.items[i]);
		free(expected.items[i]);
	}
	free(got.items);
	free(expected.items);
}

static void then_numbers_same(struct fixture *fixture, struct fixture *fresh)
{
	struct publisher_numbers got = numbers_of(fixture), expected = numbers_of(fresh);

	assert_int_equal(got.service_ports, expected.service_ports);
	assert_int_equal(got.backends, expected.backends);
	assert_int_equal(got.draining, expected.draining);
	assert_int_equal(got.slots, expected.slots);
	assert_int_equal(got.frontends, expected.frontends);
	assert_int_equal(got.unfitting, 0);
}

/* Flows come and go meanwhile; in the end there are none, so nothing has a reason to stay. */
static void random_flows(struct fixture *fixture, uint64_t *seed, bool none)
{
	for (uint32_t i = 1; i < fixture->sizes.addresses; i++)
		fixture->address_flows[i].confirmed = none ? 0 : random_next(seed) % 2;
}

static void random_run(uint64_t seed)
{
	struct fixture *fixture = given_maps(&usual_sizes), *fresh = given_maps(&usual_sizes);
	struct port_plan *last = calloc(RANDOM_SERVICES, sizeof(*last));
	bool is_there[RANDOM_SERVICES] = {};

	assert_non_null(last);
	when_started(fixture);
	for (uint32_t round = 0; round < RANDOM_ROUNDS; round++) {
		uint32_t service = random_next(&seed) % RANDOM_SERVICES;

		is_there[service] = random_next(&seed) % 5;
		if (is_there[service]) {
			random_plan(&seed, service, &last[service]);
			assert_int_equal(when_applied(fixture, &last[service]), 0);
		} else if (last[service].port.name.name[0]) {
			when_gone(fixture, last[service].port.name.name);
		}
		if (random_next(&seed) % 8 == 0)
			random_flows(fixture, &seed, false);
		if (random_next(&seed) % 4 == 0)
			when_later(fixture, random_next(&seed) % 4);
		if (random_next(&seed) % 200 == 0)
			when_restarted(fixture);
	}
	random_flows(fixture, &seed, true);
	when_settled(fixture);

	when_started(fresh);
	for (uint32_t i = 0; i < RANDOM_SERVICES; i++) {
		if (is_there[i])
			assert_int_equal(when_applied(fresh, &last[i]), 0);
	}
	then_same(fixture, fresh);
	then_numbers_same(fixture, fresh);
	/* Nothing was lost on the way: all of it can be taken away. */
	for (uint32_t i = 0; i < RANDOM_SERVICES; i++) {
		if (is_there[i])
			when_gone(fixture, last[i].port.name.name);
	}
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 0);
	assert_int_equal(numbers_of(fixture).backends, 0);
	fixture_free(fixture);
	fixture_free(fresh);
	free(last);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= RANDOM_SEEDS; seed++)
		random_run(seed);
}

/* -- Scale -- */

#define MANY_SERVICES 10000
#define MANY_BACKENDS 10 /* of each */

static void many_plan(struct port_plan *plan, uint32_t service, uint32_t shift)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "service-%u", service);
	port_begin(plan, name, "10.96.0.1", IPPROTO_TCP);
	plan->frontend.frontend.vip.bytes[13] = (uint8_t)(96 + (service >> 16));
	plan->frontend.frontend.vip.bytes[14] = (uint8_t)(service >> 8);
	plan->frontend.frontend.vip.bytes[15] = (uint8_t)service;
	for (uint32_t i = 0; i < MANY_BACKENDS; i++) {
		struct planned_backend *backend = port_add(plan, 0);
		uint32_t number = htonl(0x0a000000U + service * MANY_BACKENDS * 2 + i + shift);

		memcpy(&backend->addr.bytes[12], &number, sizeof(number));
	}
}

static uint64_t many_apply(struct fixture *fixture, uint32_t from, uint32_t to, uint32_t shift)
{
	struct port_plan plan;
	uint64_t took_ns = 0;

	for (uint32_t i = from; i < to; i++) {
		uint64_t begun_ns;

		many_plan(&plan, i, shift);
		begun_ns = now_ns();
		assert_int_equal(when_applied(fixture, &plan), 0);
		took_ns += now_ns() - begun_ns;
	}
	return took_ns;
}

/* Absolute times belong to a benchmark; here they are printed, and what must hold is that nothing is lost. */
static void test_many(void **state)
{
	const struct sizes sizes = {2 * MANY_SERVICES, 1 << 19, 1 << 18, 2 * MANY_SERVICES, 1 << 19};
	struct fixture *fixture = given_maps(&sizes);
	uint64_t first_ns, change_ns, same_ns, open_ns, reopen_ns;
	struct mallinfo2 before, after;

	(void)state;
	before = mallinfo2();
	open_ns = now_ns();
	when_started(fixture);
	open_ns = now_ns() - open_ns;
	first_ns = many_apply(fixture, 0, MANY_SERVICES, 0);
	after = mallinfo2();
	change_ns = many_apply(fixture, MANY_SERVICES / 2, MANY_SERVICES / 2 + 100, MANY_BACKENDS) / 100;
	same_ns = many_apply(fixture, 0, 1000, 0) / 1000;
	assert_int_equal(numbers_of(fixture).service_ports, MANY_SERVICES);
	assert_int_equal(numbers_of(fixture).slots, MANY_SERVICES * MANY_BACKENDS);
	when_stopped(fixture);
	reopen_ns = now_ns();
	when_started(fixture);
	reopen_ns = now_ns() - reopen_ns;
	assert_int_equal(numbers_of(fixture).service_ports, MANY_SERVICES);

	print_message("# open %llu ms, %d x %d applied in %llu ms, one changed in %llu us, one applied "
		      "again in %llu us, adopted in %llu ms; heap %zu bytes a backend\n",
		      (unsigned long long)open_ns / 1000000, MANY_SERVICES, MANY_BACKENDS,
		      (unsigned long long)first_ns / 1000000, (unsigned long long)change_ns / 1000,
		      (unsigned long long)same_ns / 1000, (unsigned long long)reopen_ns / 1000000,
		      (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) /
			      (MANY_SERVICES * MANY_BACKENDS));
	fixture_free(fixture);
}

#define TEST(sentence, function) {sentence, function, setup, teardown, NULL}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a new Service is complete in every map", test_new_service),
		TEST("index 0 of services, backends and address_flows is never used", test_index_zero),
		TEST("the same plan again writes nothing", test_same_plan_again),
		TEST("ids stay while anything uses them", test_ids_are_stable),
		TEST("TCP and UDP have service ports and backends of their own",
		     test_protocols_have_their_own_backends),
		TEST("an empty list says what clients get", test_empty_lists_say_what_clients_get),
		TEST("a policy that changes has its list before its flag", test_policy_changes),
		TEST("affinity alone changes no list", test_affinity),
		TEST("a Service made anew at another ClusterIP moves there", test_new_cluster_ip),
		TEST("a ClusterIP that another Service took stays with it", test_address_taken_over),
		TEST("a Service that goes leaves nothing behind", test_service_that_goes),
		TEST("a reason stands while it holds", test_reasons),
		TEST("a backend that terminated and went is dead at once", test_terminating_then_gone),
		TEST("a backend that went without terminating drains while it has flows",
		     test_gone_without_terminating),
		TEST("flows that may still be new keep a backend", test_new_flows_keep_a_backend),
		TEST("a backend of two Services stays while one has it", test_backend_of_two_services),
		TEST("a backend that comes back has its id and its generation",
		     test_backend_that_comes_back),
		TEST("UDP backends that left are told once", test_left_udp_backends_are_told),
		TEST("slots and backends that left are as they were within the grace period",
		     test_grace_of_slots_and_backends),
		TEST("reclaim says when it wants to be called again", test_reclaim_says_when),
		TEST("a reused backend id has another generation", test_reused_id_has_another_generation),
		TEST("a VIP is retired while its flows last", test_vip_stays_while_flows_do),
		TEST("a retired VIP that comes back is a ClusterIP again", test_vip_that_comes_back),
		TEST("a service port's id waits for the flows of its VIP", test_service_id_waits_for_flows),
		TEST("addresses of the node come and go, over restarts too", test_node_addresses),
		TEST("services full: refused by name, rolled back, tried again", test_services_full),
		TEST("slots full: refused by name, rolled back, tried again", test_slots_full),
		TEST("backends full: refused by name, rolled back, tried again", test_backends_full),
		TEST("frontends full: refused by name, rolled back, tried again", test_frontends_full),
		TEST("addresses full: refused by name, rolled back, tried again", test_addresses_full),
		TEST("a change that does not fit leaves the service port as it was",
		     test_change_that_does_not_fit),
		TEST("a list longer than programs can search is refused", test_list_beyond_the_limit),
		TEST("a restart with the same plans writes nothing", test_restart_writes_nothing),
		TEST("after a restart nothing goes before the source was read",
		     test_nothing_is_removed_before_it_is_known_to_be_gone),
		TEST("retired VIPs and draining backends survive a restart",
		     test_retired_vip_survives_a_restart),
		TEST("what a crash left behind is put right", test_crash_repair),
		TEST("a crash before the frontend: the port keeps its id and gets it",
		     test_crash_before_the_frontend),
		TEST("a list that is none is replaced", test_list_that_is_no_list),
		TEST("a reader sees one whole list while it is replaced without pause", test_atomicity),
		TEST("after thousands of random changes the maps are as if made afresh", test_random),
		TEST("ten thousand Services with ten backends each", test_many),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}
