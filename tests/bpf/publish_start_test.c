/* SPDX-License-Identifier: BSD-2-Clause */

/* What an earlier run left in the maps: it is adopted, and put right where that run was killed. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

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
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 5:leaving"),
				 0);
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
	struct service_name twin = {.namespace_ = "shop",
				    .name = "web",
				    .port_name = "http",
				    .proto = IPPROTO_TCP,
				    .family = FAMILY_IPV4};
	struct frontend frontend = {
		.vip = ip("10.96.0.77"), .port = htons(80), .proto = IPPROTO_TCP};
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
	fixture->backends[50] = (struct backend){.addr = ip("10.0.0.50"),
						 .port = htons(8080),
						 .proto = IPPROTO_TCP,
						 .state = BACKEND_ACTIVE,
						 .generation = 7};
	fixture->backends[51] = (struct backend){.addr = ip("10.0.0.51"), .state = 99};
	fixture->backends[52] = fixture->backends[1];
	/* A frontend that leads nowhere, an address with an index out of bounds. */
	assert_int_equal(bpf_map_update_elem(fixture->maps.frontends, &frontend, &target, BPF_ANY),
			 0);
	assert_int_equal(bpf_map_update_elem(fixture->maps.addresses, &addr, &bad_index, BPF_ANY),
			 0);

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
	struct frontend frontend = {
		.vip = ip("10.96.0.1"), .port = htons(80), .proto = IPPROTO_TCP};
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

#define TEST(sentence, function)                                          \
	{                                                                 \
		sentence, function, publish_setup, publish_teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a restart with the same plans writes nothing", test_restart_writes_nothing),
		TEST("after a restart nothing goes before the source was read",
		     test_nothing_is_removed_before_it_is_known_to_be_gone),
		TEST("retired VIPs and draining backends survive a restart",
		     test_retired_vip_survives_a_restart),
		TEST("what a crash left behind is put right", test_crash_repair),
		TEST("a crash before the frontend: the port keeps its id and gets it",
		     test_crash_before_the_frontend),
		TEST("a list that is none is replaced", test_list_that_is_no_list),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_start", tests, NULL, NULL);
}
