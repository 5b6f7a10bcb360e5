/* SPDX-License-Identifier: BSD-2-Clause */

/* Maps that are full: each Service that does not fit is refused as a whole, and tried again. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fairlead/limits.h"
#include "base/log.h"
#include "base/map.h"

static int retry(const char *namespace_, const char *name, void *context)
{
	struct fixture *fixture = context;

	assert_string_equal(namespace_, "shop");
	return when_service(fixture, name, "10.96.0.9", "21 22 23 24");
}

/*
 * shop/big (10.96.0.9 -> 21 to 24) does not fit beside shop/web: nothing of it is left in any map but
 * its ClusterIP, to be left alone; when shop/web is gone it is tried again and fits. Until then it
 * is not tried in vain.
 */
static void then_refused_until_room(const struct sizes *sizes, const char *map, const char *flag)
{
	struct fixture *fixture = given_maps(sizes);
	const struct ip_addr vip = ip("10.96.0.9");
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

	/*
	 * Apart from the reason, its ClusterIP that is left alone, and entries that are free, the
	 * maps are as they were.
	 */
	assert_int_equal(bpf_map_delete_elem(fixture->maps.unprogrammed, &key), 0);
	(void)bpf_map_delete_elem(fixture->maps.addresses, &vip);
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
	then_refused_until_room(&(struct sizes){16, 64, 64, 1, 64}, "frontends", "--max-frontends");
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

static void test_plan_that_does_not_fit(void **state)
{
	const struct sizes sizes = {16, 64, 64, 16, 64};
	struct fixture *fixture = given_maps(&sizes);
	struct port_plan plan;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_restarted(fixture);
	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	plan.port.unprogrammed = UNPROGRAMMED_MAP_FULL;
	assert_int_equal(when_applied(fixture, &plan), 0);
	publisher_remove_unclaimed(fixture->publisher);

	then_served(fixture, "10.96.0.1", "1 2");
	assert_int_equal(reason_of(fixture, "web").reason, UNPROGRAMMED_MAP_FULL);
	fixture_free(fixture);
}

static void test_list_beyond_the_limit(void **state)
{
	const struct sizes sizes = {8, 4 * SLOT_RANGE_MAX, 2 * SLOT_RANGE_MAX, 8,
				    2 * SLOT_RANGE_MAX};
	struct fixture *fixture = given_maps(&sizes);
	size_t count = SLOT_RANGE_MAX + 1;
	struct planned_backend *backends = calloc(count, sizeof(*backends));
	struct port_plan plan;

	(void)state;
	assert_non_null(backends);
	when_started(fixture);
	for (size_t i = 0; i < count; i++)
		backends[i] = (struct planned_backend){
			.addr = ip("10.0.0.1"), .port = htons((uint16_t)i), .in_cluster = true};
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

/* Kubernetes has no other limit than the numbers of ports. */
static void test_all_ports_of_an_address(void **state)
{
	enum { PORTS = 65535 };
	const __u8 protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	const char *const names[] = {"tcp", "udp", "sctp"};
	const struct sizes sizes = {4 * PORTS, 8 * PORTS, 8, 4 * PORTS, 8};
	struct fixture *fixture = given_maps(&sizes);
	struct many_ports many;

	(void)state;
	when_started(fixture);
	for (int i = 0; i < 3; i++) {
		many = given_ports(names[i], protos[i], PORTS);
		assert_int_equal(when_ports(fixture, &many), 0);
		ports_free(&many);
	}
	assert_int_equal(numbers_of(fixture).frontends, 3 * PORTS);
	when_restarted(fixture);
	assert_int_equal(numbers_of(fixture).frontends, 3 * PORTS);
	for (int i = 0; i < 3; i++) {
		then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
		when_gone(fixture, names[i]);
	}
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", 0);
	fixture_free(fixture);
}

#define ROUNDS  100
#define CLAIMED 20

/* Returns how many of the Services fit: ten for backends of their own, more for shared ones. */
static uint32_t when_filled(struct fixture *fixture)
{
	uint32_t fitting = 0;

	for (uint32_t i = 0; i < CLAIMED; i++) {
		char name[16], vip[32], endpoints[32] = "1 2 3";
		int err;

		(void)snprintf(name, sizeof(name), "s%u", i);
		(void)snprintf(vip, sizeof(vip), "10.96.0.%u", i + 1);
		if (i < CLAIMED / 2 + 2)
			(void)snprintf(endpoints, sizeof(endpoints), "%u %u %u", 3 * i + 1,
				       3 * i + 2, 3 * i + 3);
		err = when_service(fixture, name, vip, endpoints);
		assert_true(!err || err == -ENOSPC);
		fitting += !err;
	}
	return fitting;
}

static void test_filled_and_emptied(void **state)
{
	const struct sizes sizes = {16, 56, 32, 16, 64}; /* 31 backends, 14 lists of 3 */
	struct fixture *fixture = given_maps(&sizes);
	struct publisher_numbers numbers;

	(void)state;
	when_started(fixture);
	for (int round = 0; round < ROUNDS; round++) {
		assert_int_equal(when_filled(fixture), 14);
		for (uint32_t i = 0; i < CLAIMED; i++) {
			char name[16];

			(void)snprintf(name, sizeof(name), "s%u", i);
			when_gone(fixture, name);
		}
		when_settled(fixture);
		numbers = numbers_of(fixture);
		assert_int_equal(numbers.service_ports, 0);
		assert_int_equal(numbers.backends, 0);
		assert_int_equal(numbers.draining, 0);
		assert_int_equal(numbers.slots, 0);
		assert_int_equal(numbers.frontends, 0);
		assert_int_equal(numbers.unfitting, 0);
		assert_int_equal(map_count(fixture->maps.addresses), 0);
	}
	fixture_free(fixture);
}

struct indexes {
	uint32_t count;
	bool is_taken[64];
};

static void index_take(const void *key, const void *value, void *context)
{
	const struct address_info *info = value;
	struct indexes *indexes = context;

	(void)key;
	assert_between(info->index, 1, indexes->count - 1);
	assert_false(indexes->is_taken[info->index]);
	indexes->is_taken[info->index] = true;
}

/* No two entries of `addresses` have one index. */
static void then_indexes_are_unique(struct fixture *fixture)
{
	struct indexes indexes = {.count = fixture->sizes.addresses};

	assert_true(indexes.count <= sizeof(indexes.is_taken));
	assert_int_equal(map_each(fixture->maps.addresses, index_take, &indexes), 0);
}

static int when_service_with_ranges(struct fixture *fixture, const char *name, const char *vip,
				    const char *endpoints, uint32_t count)
{
	struct cidr ranges[SOURCE_RANGES + 1];
	struct port_plan plan;

	port_begin(&plan, name, vip, IPPROTO_TCP);
	port_add_text(&plan, endpoints);
	assert_true(count <= SOURCE_RANGES + 1);
	for (uint32_t i = 0; i < count; i++)
		ranges[i] = (struct cidr){.addr = ip_number("192.0", i << 8), .prefix = 120};
	plan.port.source_ranges = ranges;
	plan.port.source_range_count = count;
	plan.port.flags |= SERVICE_SOURCE_RANGES;
	return when_applied(fixture, &plan);
}

/*
 * The last step of a change fails, when its addresses are written; one is VIP and backend at once.
 */
static void test_last_step_that_fails(void **state)
{
	const struct sizes sizes = {16, 64, 64, 16, 8}; /* 7 addresses */
	struct fixture *fixture = given_maps(&sizes);
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);

	(void)state;
	(void)close(fixture->maps.service_names);
	fixture->maps.service_names =
		bpf_map_create(BPF_MAP_TYPE_HASH, "service_names", sizeof(uint32_t),
			       sizeof(struct service_name), 1, &options);
	assert_true(fixture->maps.service_names >= 0);
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	assert_int_equal(when_service_with_ranges(fixture, "both", "10.0.0.9", "9", 2), -ENOSPC);

	then_full(fixture, "both", "services", "--max-services");
	assert_int_equal(map_count(fixture->maps.source_ranges), 0);
	assert_int_equal(numbers_of(fixture).source_ranges, 0);
	then_address(fixture, "10.0.0.9", ADDRESS_EXTERNAL); /* its ClusterIP is left alone */
	when_gone(fixture, "both");
	when_settled(fixture);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3 4 5 6"), 0);
		then_indexes_are_unique(fixture);
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3 4 5 6 7"),
				 -ENOSPC);
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
		when_settled(fixture);
	}
	fixture_free(fixture);
}

static void then_name_has(struct fixture *fixture, const char *vip, uint32_t endpoints)
{
	const uint32_t id = service_id_of(fixture, vip, IPPROTO_TCP);
	struct service_name name;

	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
	assert_int_equal(name.total, endpoints);
}

static void test_source_ranges_full(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service_with_ranges(fixture, "web", "10.96.0.1", "1 2", 3), 0);

	assert_int_equal(
		when_service_with_ranges(fixture, "web", "10.96.0.1", "1 2 3", SOURCE_RANGES + 1),
		-ENOSPC);
	then_full(fixture, "web", "source_ranges", "--max-source-ranges");
	then_served(fixture, "10.96.0.1", "1 2");
	then_name_has(fixture, "10.96.0.1", 2);
	assert_int_equal(map_count(fixture->maps.source_ranges), 3);
	assert_int_equal(numbers_of(fixture).source_ranges, 3);

	assert_int_equal(
		when_service_with_ranges(fixture, "api", "10.96.0.2", "4", SOURCE_RANGES + 1),
		-ENOSPC);
	then_full(fixture, "api", "source_ranges", "--max-source-ranges");
	assert_int_equal(map_count(fixture->maps.service_names), 1);
	assert_int_equal(map_count(fixture->maps.source_ranges), 3);

	assert_int_equal(when_service_with_ranges(fixture, "web", "10.96.0.1", "1 2 3", 1), 0);
	then_fits(fixture, "web");
	then_name_has(fixture, "10.96.0.1", 3);
	assert_int_equal(map_count(fixture->maps.source_ranges), 1);
}

static void test_node_addresses_that_do_not_fit(void **state)
{
	const struct sizes sizes = {16, 64, 64, 16, 4}; /* 3 addresses */
	const struct ip_addr addrs[] = {ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"),
					ip("192.0.2.4")};
	struct fixture *fixture = given_maps(&sizes);
	char text[TEXT_SIZE];
	int err;

	(void)state;
	when_started(fixture);
	log_begin();
	err = publisher_write_node_addresses(fixture->publisher, addrs, 4);
	log_end(text);

	assert_int_equal(err, -ENOSPC);
	assert_non_null(strstr(text, "map addresses is full: raise --max-backends"));
	then_address(fixture, "192.0.2.3", ADDRESS_NODE);
	then_address(fixture, "192.0.2.4", 0);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("services full: refused by name, rolled back, tried again",
		     test_services_full),
		TEST("slots full: refused by name, rolled back, tried again", test_slots_full),
		TEST("backends full: refused by name, rolled back, tried again",
		     test_backends_full),
		TEST("frontends full: refused by name, rolled back, tried again",
		     test_frontends_full),
		TEST("addresses full: refused by name, rolled back, tried again",
		     test_addresses_full),
		TEST("addresses of the node that do not fit are logged with the map that is full",
		     test_node_addresses_that_do_not_fit),
		TEST("source_ranges full: no name of what was refused is left",
		     test_source_ranges_full),
		TEST("a change that does not fit leaves the service port as it was",
		     test_change_that_does_not_fit),
		TEST("a plan that does not fit leaves the service port as it was",
		     test_plan_that_does_not_fit),
		{"all ports of an address, of all protocols, fit", test_all_ports_of_an_address,
		 NULL, NULL, NULL},
		TEST("filled and emptied a hundred times, as much fits as the first time",
		     test_filled_and_emptied),
		TEST("where the last step of a change fails, nothing is given back twice",
		     test_last_step_that_fails),
		TEST("a list longer than programs can search is refused",
		     test_list_beyond_the_limit),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_full", tests, NULL, NULL);
}
