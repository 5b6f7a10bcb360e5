/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"

const struct sizes usual_sizes = {64, 1024, 256, 64, 512};

uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int map_make(enum bpf_map_type type, const char *name, size_t key_size, size_t value_size,
		    uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(type, name, (uint32_t)key_size, (uint32_t)value_size, entries,
				&options);

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

void when_started(struct fixture *fixture)
{
	assert_int_equal(publisher_open(&fixture->maps, &fixture->publisher), 0);
}

void when_stopped(struct fixture *fixture)
{
	publisher_close(fixture->publisher);
	fixture->publisher = NULL;
}

struct fixture *given_maps(const struct sizes *sizes)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct publisher_maps *maps = &fixture->maps;

	assert_non_null(fixture);
	fixture->sizes = *sizes;
	maps->frontends = map_make(BPF_MAP_TYPE_HASH, "frontends", sizeof(struct frontend),
				   sizeof(struct frontend_target), sizes->frontends, 0);
	maps->addresses = map_make(BPF_MAP_TYPE_HASH, "addresses", sizeof(struct ip_addr),
				   sizeof(struct address_info), sizes->addresses, 0);
	maps->service_names =
		map_make(BPF_MAP_TYPE_HASH, "service_names", sizeof(uint32_t),
			 sizeof(struct service_name), sizes->services, BPF_F_NO_PREALLOC);
	maps->service_stats = map_make(BPF_MAP_TYPE_PERCPU_ARRAY, "service_stats", sizeof(uint32_t),
				       sizeof(struct service_stats), sizes->services, 0);
	maps->unprogrammed =
		map_make(BPF_MAP_TYPE_HASH, "unprogrammed", sizeof(struct unprogrammed_key),
			 sizeof(struct unprogrammed), 4096, BPF_F_NO_PREALLOC);
	maps->source_ranges =
		map_make(BPF_MAP_TYPE_LPM_TRIE, "source_ranges", sizeof(struct source_range),
			 sizeof(uint32_t), SOURCE_RANGES, BPF_F_NO_PREALLOC);
	maps->flows = map_make(BPF_MAP_TYPE_HASH, "flows", sizeof(struct flow_key),
			       sizeof(struct confirmed_flow), 64, 0);
	maps->services = array_make("services", sizeof(struct service), sizes->services,
				    (void **)&fixture->services);
	maps->slots =
		array_make("slots", sizeof(struct slot), sizes->slots, (void **)&fixture->slots);
	maps->backends = array_make("backends", sizeof(struct backend), sizes->backends,
				    (void **)&fixture->backends);
	maps->address_flows = array_make("address_flows", sizeof(struct address_flows),
					 sizes->addresses, (void **)&fixture->address_flows);
	maps->node_ports = array_make("node_ports", sizeof(struct node_ports), 1,
				      (void **)&fixture->node_ports);
	maps->far_backends = map_make(BPF_MAP_TYPE_ARRAY, "far_backends", sizeof(uint32_t),
				      sizeof(uint32_t), (size_t)2 * FAR_BACKENDS, 0);
	maps->services_max = sizes->services;
	maps->slots_max = sizes->slots;
	maps->backends_max = sizes->backends;
	maps->frontends_max = sizes->frontends;
	maps->addresses_max = sizes->addresses;
	return fixture;
}

void fixture_free(struct fixture *fixture)
{
	const struct publisher_maps *maps = &fixture->maps;
	const int fds[] = {maps->frontends,     maps->addresses,     maps->address_flows,
			   maps->services,      maps->slots,         maps->backends,
			   maps->service_names, maps->service_stats, maps->unprogrammed,
			   maps->source_ranges, maps->flows,         maps->node_ports,
			   maps->far_backends};

	publisher_close(fixture->publisher);
	(void)munmap(fixture->services, sizeof(struct service) * fixture->sizes.services);
	(void)munmap(fixture->slots, sizeof(struct slot) * fixture->sizes.slots);
	(void)munmap(fixture->backends, sizeof(struct backend) * fixture->sizes.backends);
	(void)munmap(fixture->address_flows,
		     sizeof(struct address_flows) * fixture->sizes.addresses);
	(void)munmap(fixture->node_ports, sizeof(struct node_ports));
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		(void)close(fds[i]);
	free(fixture);
}

int publish_setup(void **state)
{
	struct fixture *fixture = given_maps(&usual_sizes);

	when_started(fixture);
	*state = fixture;
	return 0;
}

int publish_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

struct ip_addr ip_number(const char *prefix, uint32_t number)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)snprintf(text, sizeof(text), "%s.%u.%u", prefix, number >> 8 & 0xff, number & 0xff);
	return ip(text);
}

void port_begin(struct port_plan *plan, const char *name, const char *vip, __u8 proto)
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

struct planned_backend *port_add(struct port_plan *plan, uint32_t number)
{
	struct planned_backend *backend = &plan->backends[plan->port.backend_count++];

	assert_true(plan->port.backend_count <= BACKENDS_MAX);
	*backend = (struct planned_backend){
		.addr = ip_number("10.0", number),
		.port = htons(8080),
		.in_cluster = true,
	};
	plan->port.name.total++;
	plan->port.name.ready++;
	return backend;
}

void port_add_text(struct port_plan *plan, const char *text)
{
	char copy[256], *rest = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		struct planned_backend *backend = port_add(plan, (uint32_t)strtoul(word, NULL, 10));

		backend->is_local = strstr(word, ":here");
		backend->has_node = backend->is_local || strstr(word, ":there");
		backend->terminating = strstr(word, ":leaving");
		if (backend->terminating || strstr(word, ":unready"))
			backend->in_cluster = false;
	}
}

void port_make_local(struct port_plan *plan)
{
	plan->port.uses_cluster = false;
	plan->port.uses_local = true;
	plan->port.flags = SERVICE_INTERNAL_LOCAL;
	plan->port.empty_local = EMPTY_DROP;
	for (size_t i = 0; i < plan->port.backend_count; i++) {
		struct planned_backend *backend = &plan->backends[i];

		backend->in_local = backend->in_cluster && backend->is_local;
		backend->in_cluster = false;
	}
}

int when_applied(struct fixture *fixture, struct port_plan *port)
{
	const struct plan plan = {
		.ports = &port->port, .port_count = 1, .created_s = port->created_s};

	return publisher_apply(fixture->publisher, port->port.name.namespace_, port->port.name.name,
			       &plan);
}

struct many_ports given_ports(const char *name, __u8 proto, unsigned int count)
{
	struct many_ports many = {
		.plan = {.ports = calloc(count, sizeof(*many.plan.ports)), .port_count = count},
		.frontends = calloc(count, sizeof(*many.frontends)),
		.backend = {.addr = ip("10.0.0.1"), .port = htons(80), .in_cluster = true},
	};
	struct port_plan one;

	assert_true(many.plan.ports && many.frontends);
	port_begin(&one, name, "10.96.0.1", proto);
	for (unsigned int i = 0; i < count; i++) {
		struct planned_port *port = &many.plan.ports[i];

		*port = one.port;
		(void)snprintf(port->name.port_name, NAME_SIZE, "p%u", i);
		many.frontends[i] = one.frontend;
		many.frontends[i].frontend.port = htons((uint16_t)(i + 1));
		port->frontends = &many.frontends[i];
	}
	return many;
}

void ports_free(const struct many_ports *many)
{
	free(many->plan.ports);
	free(many->frontends);
}

int when_ports(struct fixture *fixture, struct many_ports *many)
{
	for (size_t i = 0; i < many->plan.port_count; i++) {
		many->plan.ports[i].backends = &many->backend;
		many->plan.ports[i].backend_count = 1;
	}
	return publisher_apply(fixture->publisher, "shop", many->plan.ports->name.name,
			       &many->plan);
}

int when_service(struct fixture *fixture, const char *name, const char *vip, const char *endpoints)
{
	struct port_plan plan;

	port_begin(&plan, name, vip, IPPROTO_TCP);
	port_add_text(&plan, endpoints);
	return when_applied(fixture, &plan);
}

void when_gone(struct fixture *fixture, const char *name)
{
	assert_int_equal(publisher_apply(fixture->publisher, "shop", name, NULL), 0);
}

void when_later(struct fixture *fixture, uint64_t seconds)
{
	fixture->ahead_ns += seconds * NS_PER_S;
	(void)publisher_reclaim(fixture->publisher, now_ns() + fixture->ahead_ns);
}

void when_settled(struct fixture *fixture)
{
	for (int round = 0; round < 4; round++)
		when_later(fixture, 10);
}

uint32_t service_id_of(struct fixture *fixture, const char *vip, __u8 proto)
{
	struct frontend frontend = {.vip = ip(vip), .port = htons(80), .proto = proto};
	struct frontend_target target;

	if (bpf_map_lookup_elem(fixture->maps.frontends, &frontend, &target))
		return 0;
	return target.service;
}

struct service *service_of(struct fixture *fixture, const char *vip)
{
	uint32_t id = service_id_of(fixture, vip, IPPROTO_TCP);

	assert_int_not_equal(id, 0);
	assert_true(fixture->services[id].flags & SERVICE_IN_USE);
	return &fixture->services[id];
}

uint32_t backend_id_of(struct fixture *fixture, uint32_t number, __u8 proto)
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

void then_state(struct fixture *fixture, uint32_t number, enum backend_state expected)
{
	uint32_t id = backend_id_of(fixture, number, IPPROTO_TCP);

	assert_int_equal(id ? fixture->backends[id].state : BACKEND_FREE, expected);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

void then_list(struct fixture *fixture, struct slot_range range, const char *expected)
{
	uint32_t numbers[BACKENDS_MAX];
	char text[TEXT_SIZE] = "";

	assert_true(range.count <= BACKENDS_MAX);
	for (uint32_t i = 0; i < range.count; i++) {
		uint32_t id = fixture->slots[range.first + i].backend;

		assert_between(id, 1, fixture->sizes.backends - 1);
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

void then_served(struct fixture *fixture, const char *vip, const char *expected)
{
	then_list(fixture, service_of(fixture, vip)->cluster_slots, expected);
}

static uint32_t address_flags(struct fixture *fixture, const struct ip_addr *addr)
{
	struct address_info info;

	if (bpf_map_lookup_elem(fixture->maps.addresses, addr, &info))
		return 0;
	assert_between(info.index, 1, fixture->sizes.addresses - 1);
	return info.flags;
}

void then_address(struct fixture *fixture, const char *addr, uint32_t expected)
{
	struct ip_addr key = ip(addr);

	assert_int_equal(address_flags(fixture, &key), expected);
}

struct address_flows *flows_of(struct fixture *fixture, const char *text)
{
	struct ip_addr addr = ip(text);
	struct address_info info;

	assert_int_equal(bpf_map_lookup_elem(fixture->maps.addresses, &addr, &info), 0);
	return &fixture->address_flows[info.index];
}

static void ignore_taken(const struct service_name *name, const char *detail, void *context)
{
	(void)name;
	(void)detail;
	(void)context;
}

struct unprogrammed reason_of(struct fixture *fixture, const char *name)
{
	struct unprogrammed_key key = {.namespace_ = "shop",
				       .port_name = "http",
				       .proto = IPPROTO_TCP,
				       .family = FAMILY_IPV4};
	struct unprogrammed value = {};

	(void)snprintf(key.name, sizeof(key.name), "%s", name);
	publisher_drain_taken(fixture->publisher, ignore_taken, NULL);
	if (bpf_map_lookup_elem(fixture->maps.unprogrammed, &key, &value))
		return (struct unprogrammed){};
	return value;
}

void then_full(struct fixture *fixture, const char *name, const char *map, const char *flag)
{
	struct unprogrammed reason = reason_of(fixture, name);

	assert_int_equal(reason.reason, UNPROGRAMMED_MAP_FULL);
	assert_non_null(strstr(reason.detail, map));
	assert_non_null(strstr(reason.detail, flag));
}

void then_fits(struct fixture *fixture, const char *name)
{
	assert_int_equal(reason_of(fixture, name).reason, 0);
}

struct publisher_numbers numbers_of(struct fixture *fixture)
{
	struct publisher_numbers numbers;

	publisher_numbers(fixture->publisher, &numbers);
	return numbers;
}

static void dump_add(struct dump *dump, const void *bytes, size_t size)
{
	dump->bytes = realloc(dump->bytes, dump->size + size);
	assert_non_null(dump->bytes);
	memcpy(dump->bytes + dump->size, bytes, size);
	dump->size += size;
}

struct dump_target {
	struct dump *dump;
	size_t key_size, value_size;
};

static void dump_add_entry(const void *key, const void *value, void *context)
{
	const struct dump_target *target = context;

	dump_add(target->dump, key, target->key_size);
	dump_add(target->dump, value, target->value_size);
}

static void dump_add_hash(struct dump *dump, int map, size_t key_size, size_t value_size)
{
	struct dump_target target = {dump, key_size, value_size};

	assert_int_equal(map_each(map, dump_add_entry, &target), 0);
}

struct dump dump_of(struct fixture *fixture)
{
	const struct publisher_maps *maps = &fixture->maps;
	const struct sizes *sizes = &fixture->sizes;
	struct dump dump = {};

	dump_add(&dump, fixture->services, sizeof(struct service) * sizes->services);
	dump_add(&dump, fixture->slots, sizeof(struct slot) * sizes->slots);
	dump_add(&dump, fixture->backends, sizeof(struct backend) * sizes->backends);
	dump_add(&dump, fixture->address_flows, sizeof(struct address_flows) * sizes->addresses);
	dump_add_hash(&dump, maps->frontends, sizeof(struct frontend),
		      sizeof(struct frontend_target));
	dump_add_hash(&dump, maps->addresses, sizeof(struct ip_addr), sizeof(struct address_info));
	dump_add_hash(&dump, maps->service_names, sizeof(uint32_t), sizeof(struct service_name));
	dump_add_hash(&dump, maps->unprogrammed, sizeof(struct unprogrammed_key),
		      sizeof(struct unprogrammed));
	dump_add_hash(&dump, maps->source_ranges, sizeof(struct source_range), sizeof(uint32_t));
	return dump;
}

void then_unchanged(struct fixture *fixture, struct dump *before)
{
	struct dump after = dump_of(fixture);

	assert_int_equal(after.size, before->size);
	assert_memory_equal(after.bytes, before->bytes, after.size);
	free(after.bytes);
	free(before->bytes);
}

static void left_collect(uint32_t service, const struct ip_addr *addr, __be16 port, void *context)
{
	char *text = context;
	size_t len = strlen(text);

	assert_int_equal(port, htons(8080));
	assert_int_not_equal(service, 0);
	(void)snprintf(text + len, TEXT_SIZE - len, "%u ", addr->bytes[15]);
}

void then_left(struct fixture *fixture, const char *expected)
{
	char text[TEXT_SIZE] = "";

	publisher_drain_departures(fixture->publisher, left_collect, text);
	assert_string_equal(text, expected);
}

void when_restarted(struct fixture *fixture)
{
	when_stopped(fixture);
	when_started(fixture);
}

static int log_file, log_saved;

void log_begin(void)
{
	log_file = memfd_create("log", MFD_CLOEXEC);
	log_saved = dup(STDERR_FILENO);
	assert_true(log_file >= 0 && log_saved >= 0);
	assert_true(dup2(log_file, STDERR_FILENO) >= 0);
	log_set_level(LOG_WARNING);
}

void log_end(char ret_text[TEXT_SIZE])
{
	log_set_level(LOG_ERROR);
	assert_true(dup2(log_saved, STDERR_FILENO) >= 0);
	memset(ret_text, 0, TEXT_SIZE);
	assert_true(pread(log_file, ret_text, TEXT_SIZE - 1, 0) >= 0);
	(void)close(log_saved);
	(void)close(log_file);
}
